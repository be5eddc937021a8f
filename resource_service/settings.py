"""The resource service's settings, all of them; `.env.example` explains each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from shared.database import parse_database_url
from shared.scope import Scope
from shared.settings import Check, Port, Secret, Settings, check_url, is_loopback
from shared.status_list_prefix import StatusListPrefix
from shared.token_rules import LEEWAY_SECONDS, MAX_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS

DEFAULT_DATABASE_URL = "sqlite:///var/resource/resource.sqlite3"
MAX_STALE_SECONDS = 86_400
"""A day: longer than that an issuer that cannot be reached is not believed any more."""
MEBIBYTE = 1_048_576
MOUNT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

TokenProfile = Literal["rfc9068", "plain-jwt"]
"""`rfc9068`: to the letter. `plain-jwt`: also issuers that send no `typ`, `scp` for `scope`, and the like."""
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519", "EdDSA"]
Algorithms = Annotated[tuple[Algorithm, ...], Meta(min_length=1)]


class IssuerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more issuer in RESOURCE_TRUSTED_ISSUERS; the members are as the settings of the first one."""

    issuer: str
    jwks_uri: str | None = None
    revocations_uri: str | None = None
    status_list_prefix: str | None = None
    token_profile: TokenProfile = "rfc9068"
    algorithms: Algorithms = ("RS256",)
    unlabelled_algorithm: Algorithm | None = None


def _check_identifier(url: str, settings: Mapping[str, Any]) -> str:
    return check_url(url, plain_http_hosts=settings["plain_http_hosts"])


def _check_jwks_uri(url: str | None, settings: Mapping[str, Any]) -> str | None:
    """The address of a key set or a revocation feed may have a query, an identifier may not."""
    if url is None:
        return None
    check_url(url.partition("?")[0], plain_http_hosts=settings["plain_http_hosts"])
    if "#" in url or not url.isascii() or not url.isprintable():
        raise ValueError("must be an absolute URL in ASCII without a fragment")
    return url


def _check_status_list_prefix(prefix: str | None, settings: Mapping[str, Any]) -> str | None:
    _check_status_lists(prefix, settings["issuer"], settings)
    return prefix


def _check_status_lists(prefix: str | None, issuer: str, settings: Mapping[str, Any]) -> None:
    if prefix is not None:
        StatusListPrefix(prefix, issuer=issuer, plain_http_hosts=settings["plain_http_hosts"])


def _check_unlabelled_algorithm(algorithm: str | None, settings: Mapping[str, Any]) -> str | None:
    _check_among(algorithm, settings["algorithms"])
    return algorithm


def _check_among(algorithm: str | None, algorithms: tuple[str, ...]) -> None:
    if algorithm is not None and algorithm not in algorithms:
        raise ValueError("must be one of the algorithms, for keys that do not name theirs")


def _check_database_url(url: Secret, _settings: Mapping[str, Any]) -> Secret:
    parse_database_url(url.reveal())
    return url


def _check_metrics_port(port: int, settings: Mapping[str, Any]) -> int:
    if port == settings["port"]:
        raise ValueError("must not be RESOURCE_PORT: the metrics are not for those who use the service")
    return port


def _check_trusted_issuers(
    issuers: tuple[IssuerSettings, ...], settings: Mapping[str, Any]
) -> tuple[IssuerSettings, ...]:
    known = {settings["issuer"]}
    for trusted in issuers:
        _check_identifier(trusted.issuer, settings)
        _check_jwks_uri(trusted.jwks_uri, settings)
        _check_jwks_uri(trusted.revocations_uri, settings)
        _check_status_lists(trusted.status_list_prefix, trusted.issuer, settings)
        _check_among(trusted.unlabelled_algorithm, trusted.algorithms)
        if trusted.issuer in known:
            raise ValueError("must not name an issuer twice, nor RESOURCE_ISSUER again")
        known.add(trusted.issuer)
    return issuers


def _check_cors_origins(origins: tuple[str, ...], settings: Mapping[str, Any]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        raise ValueError("must be * alone, which already allows every origin, or a list without it")
    for origin in origins:
        if origin != "*":
            check_url(origin, plain_http_hosts=settings["plain_http_hosts"], allow_path=False)
    return origins


def _check_forward_auth(mounts: dict[str, tuple[str, ...]], _settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, scopes in mounts.items():
        if not MOUNT_NAME.fullmatch(name):
            raise ValueError("must name each mount with letters, digits, - and _")
        Scope(*scopes)
    return mounts


class ResourceSettings(Settings, frozen=True, kw_only=True):
    """`RESOURCE_*`; a check may read the settings that stand above its own."""

    prefix: ClassVar[str] = "RESOURCE_"
    derived: ClassVar = {"identifier": lambda settings: f"http://localhost:{settings['port']}"}
    checks: ClassVar[Mapping[str, Check]] = {
        "identifier": _check_identifier,
        "issuer": _check_identifier,
        "jwks_uri": _check_jwks_uri,
        "revocations_uri": _check_jwks_uri,
        "status_list_prefix": _check_status_list_prefix,
        "unlabelled_algorithm": _check_unlabelled_algorithm,
        "database_url": _check_database_url,
        "metrics_port": _check_metrics_port,
        "trusted_issuers": _check_trusted_issuers,
        "cors_origins": _check_cors_origins,
        "forward_auth": _check_forward_auth,
    }

    plain_http_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 8002
    identifier: str
    issuer: str = "http://localhost:8001"
    jwks_uri: str | None = None
    revocations_uri: str | None = None
    status_list_prefix: str | None = None
    database_url: Secret = Secret(DEFAULT_DATABASE_URL)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9002

    token_profile: TokenProfile = "rfc9068"
    algorithms: Algorithms = ("RS256",)
    unlabelled_algorithm: Algorithm | None = None
    trusted_issuers: tuple[IssuerSettings, ...] = ()
    leeway_seconds: Annotated[int, Meta(ge=0, le=MAX_LEEWAY_SECONDS)] = LEEWAY_SECONDS
    max_token_seconds: Annotated[int, Meta(ge=1, le=86_400)] = MAX_LIFETIME_SECONDS
    stale_seconds: Annotated[int, Meta(ge=0, le=MAX_STALE_SECONDS)] = 3_600
    revocation_mode: Literal["open", "closed"] = "open"
    revocation_stale_seconds: Annotated[int, Meta(ge=15, le=900)] = 60
    key_set_folder: Path | None = None
    revocation_folder: Path | None = None
    accept_jwt_scheme: bool = True
    cors_origins: tuple[str, ...] = ()

    forward_auth: dict[str, tuple[str, ...]] = field(default_factory=dict)
    max_items: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    max_bytes: Annotated[int, Meta(ge=1_024, le=1_024 * MEBIBYTE)] = 16 * MEBIBYTE

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False

    @property
    def embedded_file(self) -> Path | None:
        """The file of the embedded database; None with PostgreSQL."""
        url = parse_database_url(self.database_url.reveal())
        return Path(str(url.database)) if url.drivername.startswith("sqlite") else None

    @property
    def kept_key_sets(self) -> Path | None:
        """Where the newest good key set of each issuer is kept; None keeps none."""
        return self.key_set_folder or self._beside_the_database("key-sets")

    @property
    def kept_revocations(self) -> Path | None:
        """Where the documents of each issuer's revocation feed are kept; None keeps none."""
        return self.revocation_folder or self._beside_the_database("revocations")

    def warnings(self) -> list[str]:
        """What is allowed but should be seen in the log."""
        hosts = sorted({host for host in self._plain_hosts() if host in self.plain_http_hosts})
        found = [f"plain http is used for the host {host}" for host in hosts]
        if not is_loopback(self.metrics_host):
            found.append(f"the metrics are served beyond this machine, on {self.metrics_host}")
        if "plain-jwt" in (self.token_profile, *(trusted.token_profile for trusted in self.trusted_issuers)):
            found.append("tokens that do not say that they are access tokens are accepted (plain-jwt)")
        return found

    def _beside_the_database(self, folder: str) -> Path | None:
        """A folder of that name where the database is a file."""
        file = self.embedded_file
        return None if file is None else file.parent / folder

    def _plain_hosts(self) -> Iterator[str]:
        urls = [self.identifier, self.issuer, self.jwks_uri, self.revocations_uri, self.status_list_prefix]
        for trusted in self.trusted_issuers:
            urls += [trusted.issuer, trusted.jwks_uri, trusted.revocations_uri, trusted.status_list_prefix]
        for url in filter(None, urls):
            parts = urlsplit(url)
            if parts.scheme == "http" and parts.hostname:
                yield parts.hostname
