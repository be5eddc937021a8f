"""What a token must say to be accepted: every pin in one value, and how closely an issuer follows RFC 9068."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.jwk import ALGORITHMS

TOKEN_TYPE: Final = "at+jwt"
"""RFC 9068 section 2.1."""
LEEWAY_SECONDS: Final = 5
"""How far clocks may differ; RFC 7519 section 4.1.4 allows no more than a few minutes."""
MAX_LEEWAY_SECONDS: Final = 60
MAX_LIFETIME_SECONDS: Final = 900
"""The longest `exp - iat` that is accepted, and so the most that the auth service can be set to; RFC 9068 leaves it
open. How long keys stay published and revocations are kept is computed from it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How closely an issuer follows RFC 9068. The default follows it to the letter.

    `token_types`: the accepted `typ` values in lower case without `application/`, "" for none at all.
    The tuples name, in order, the claims that a value is taken from. `loose_scope` also takes a JSON array of
    scope tokens and an empty text.
    """

    name: str
    token_types: frozenset[str] = frozenset({TOKEN_TYPE})
    client_id_claims: tuple[str, ...] = ("client_id",)
    token_id_claims: tuple[str, ...] = ("jti",)
    token_id_required: bool = True
    scope_claims: tuple[str, ...] = ("scope",)
    loose_scope: bool = False


RFC9068: Final = Profile("rfc9068")
PLAIN_JWT: Final = Profile(
    "plain-jwt",
    token_types=frozenset({TOKEN_TYPE, "jwt", ""}),
    client_id_claims=("client_id", "azp", "appid", "cid"),
    token_id_claims=("jti", "uti"),
    token_id_required=False,
    scope_claims=("scope", "scp"),
    loose_scope=True,
)
"""For issuers that send plain JWTs: no `typ`, `scp` for `scope`, `azp` or `cid` for `client_id`, no `jti`."""
PROFILES: Final = MappingProxyType({profile.name: profile for profile in (RFC9068, PLAIN_JWT)})


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say to be accepted: all pins in one place. Times are seconds.

    With `follows_status` a `status` claim must be one that can be followed; without it nobody looks at it.
    """

    issuer: str
    audience: str
    algorithms: frozenset[str] = frozenset({"RS256"})
    profile: Profile = RFC9068
    leeway: int = LEEWAY_SECONDS
    max_lifetime: int = MAX_LIFETIME_SECONDS
    max_age: int | None = None
    follows_status: bool = False

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ValueError("an issuer and an audience must be given")
        if not self.algorithms or not self.algorithms <= set(ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(ALGORITHMS)}")
        if not 0 <= self.leeway <= MAX_LEEWAY_SECONDS:
            raise ValueError(f"the leeway must be between 0 and {MAX_LEEWAY_SECONDS} seconds")
        if self.max_lifetime <= 0 or (self.max_age is not None and self.max_age <= 0):
            raise ValueError("the maximum lifetime and the maximum age must be positive")
