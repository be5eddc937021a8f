"""What a protected resource is told about itself and about the issuers it trusts: plain values, checked whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from resource_service.protection.access_rule import AccessRule
from shared.jwk import MIN_RSA_BITS, JwkRules
from shared.scope import Scope
from shared.settings import check_url
from shared.status_list_prefix import StatusListPrefix
from shared.token_rules import LEEWAY_SECONDS, MAX_LIFETIME_SECONDS, RFC9068, Profile, TokenRules

STALE_SECONDS: Final = 3_600
"""How long known keys are served after the last success; also the bound of an emergency removal in an outage."""
MAX_STALE_SECONDS: Final = 86_400
REVOCATION_STALE_SECONDS: Final = 60
MIN_REVOCATION_STALE_SECONDS: Final = 15
"""While nothing happens a feed is heard of every 10 s: less would be stale all the time."""
CACHED_TOKENS: Final = 16_384
CACHED_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """One issuer whose tokens are accepted, and how they are to look.

    `jwks_uri` None finds the key set through the issuer's metadata, and the revocation feed with it unless
    `revocations_uri` says where that is; an issuer without one is served without it. With `status_list_prefix` the
    `status` of tokens is followed to Token Status Lists below that address; without it nobody looks. Times are seconds.
    `last_good_file` keeps the newest good key set, `kept_revocations` the documents of the feed, for a start while the
    issuer is down.
    """

    issuer: str
    jwks_uri: str | None = None
    revocations_uri: str | None = None
    status_list_prefix: str | None = None
    algorithms: frozenset[str] = frozenset({"RS256"})
    profile: Profile = RFC9068
    min_rsa_bits: int = MIN_RSA_BITS
    unlabelled_algorithm: str | None = None
    leeway: int = LEEWAY_SECONDS
    max_lifetime: int = MAX_LIFETIME_SECONDS
    max_age: int | None = None
    stale_seconds: int = STALE_SECONDS
    last_good_file: Path | None = None
    kept_revocations: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.stale_seconds <= MAX_STALE_SECONDS:
            raise ValueError(f"stale_seconds must be between 0 and {MAX_STALE_SECONDS}")
        self.jwk_rules()
        self.token_rules("any")

    def jwk_rules(self) -> JwkRules:
        """Which of the issuer's keys are used."""
        return JwkRules(self.algorithms, self.min_rsa_bits, self.unlabelled_algorithm)

    def status_lists(self, plain_http_hosts: tuple[str, ...]) -> StatusListPrefix | None:
        """Where the issuer's status lists may lie, None where they are not followed; ValueError for an unsafe place."""
        if self.status_list_prefix is None:
            return None
        return StatusListPrefix(self.status_list_prefix, issuer=self.issuer, plain_http_hosts=plain_http_hosts)

    def token_rules(self, audience: str) -> TokenRules:
        """What the issuer's tokens must say here."""
        return TokenRules(
            issuer=self.issuer,
            audience=audience,
            algorithms=self.algorithms,
            profile=self.profile,
            leeway=self.leeway,
            max_lifetime=self.max_lifetime,
            max_age=self.max_age,
            follows_status=self.status_list_prefix is not None,
        )


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """One resource server (RFC 9728): its identifier, which is the audience of its tokens, and whom it trusts.

    `default_rule` holds for every route that says nothing of its own; `public_paths` are route patterns that are
    open though their handlers are not marked. `allow_origins` are the web origins that may call (`*` for any);
    `plain_http_hosts` the hosts, beside loopback, that may be reached without TLS.

    A revocation feed of which nothing is heard for `revocation_stale_seconds` is stale: tokens go on until they
    expire, or with `revocation_fail_closed` are answered 503 until it is heard again. The same goes for a status list
    that was to be fetched again so long ago.
    """

    identifier: str
    issuers: tuple[TrustedIssuer, ...]
    realm: str | None = None
    scopes: Scope = field(default_factory=Scope)
    name: str | None = None
    documentation: str | None = None
    jwt_scheme: bool = False
    default_rule: AccessRule = field(default_factory=AccessRule)
    public_paths: frozenset[str] = frozenset()
    allow_origins: frozenset[str] = frozenset()
    plain_http_hosts: tuple[str, ...] = ()
    cached_tokens: int = CACHED_TOKENS
    cached_bytes: int = CACHED_BYTES
    revocation_stale_seconds: int = REVOCATION_STALE_SECONDS
    revocation_fail_closed: bool = False

    def __post_init__(self) -> None:
        if self.revocation_stale_seconds < MIN_REVOCATION_STALE_SECONDS:
            raise ValueError(f"revocation_stale_seconds must be at least {MIN_REVOCATION_STALE_SECONDS}")
        check_url(self.identifier, plain_http_hosts=self.plain_http_hosts)
        if not self.issuers:
            raise ValueError("at least one issuer must be trusted")
        if len({trusted.issuer for trusted in self.issuers}) != len(self.issuers):
            raise ValueError("an issuer is named twice")
        for trusted in self.issuers:
            check_url(trusted.issuer, plain_http_hosts=self.plain_http_hosts)
            for url in filter(None, (trusted.jwks_uri, trusted.revocations_uri)):
                check_key_url(url, self.plain_http_hosts)
            trusted.status_lists(self.plain_http_hosts)
        if "offline_access" in self.scopes:
            raise ValueError("offline_access is between client and issuer, not a scope of a resource")
        if "*" in self.allow_origins and len(self.allow_origins) > 1:
            raise ValueError("* already allows every origin")
        for origin in self.allow_origins - {"*"}:
            try:
                check_url(origin, plain_http_hosts=self.plain_http_hosts, allow_path=False)
            except ValueError as error:
                raise ValueError(f"an allowed origin {error}") from None

    @property
    def metadata_path(self) -> str:
        """Where the metadata lies: the well-known path before the identifier's own (RFC 9728 section 3.1)."""
        return "/.well-known/oauth-protected-resource" + urlsplit(self.identifier).path.removesuffix("/")

    @property
    def metadata_url(self) -> str:
        parts = urlsplit(self.identifier)
        return f"{parts.scheme}://{parts.netloc}{self.metadata_path}"


def check_key_url(url: str, plain_http_hosts: tuple[str, ...]) -> str:
    """Return the address of a key set when it may be fetched from; it may have a query, or raise ValueError."""
    check_url(url.partition("?")[0], plain_http_hosts=plain_http_hosts)
    if "#" in url or not url.isascii() or not url.isprintable():
        raise ValueError("must be an absolute URL in ASCII without a fragment")
    return url
