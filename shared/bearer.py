"""Credentials in, challenges out: the `Authorization` and `WWW-Authenticate` fields of a protected resource.

RFC 6750 (bearer tokens), RFC 9728 section 5.1 (`resource_metadata`), RFC 9470 section 3 (step-up). A token
travels in `Authorization` only: one in a query or a form is not looked at. DPoP (RFC 9449) is a second scheme
that `read_credentials` and `Challenge` leave room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final, Self

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from shared.errors import ServiceError
from shared.scope import Scope

BEARER: Final = "Bearer"
_DESCRIPTION_CHARACTERS: Final = frozenset(map(chr, (0x20, 0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))))
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ProtectionSpace:
    """What every challenge of one resource says (RFC 9110 section 11.5).

    `resource_metadata` is the URL of the RFC 9728 document, `scope` what a caller without a token is told to
    ask for.
    """

    realm: str | None = None
    resource_metadata: str | None = None
    scope: Scope = field(default_factory=Scope)

    def __post_init__(self) -> None:
        for value in (self.realm, self.resource_metadata):
            if value is not None and not _DESCRIPTION_CHARACTERS.issuperset(value):
                raise ValueError("a challenge takes printable ASCII without quotation mark and backslash")


UNNAMED_SPACE: Final = ProtectionSpace()


@dataclass(frozen=True, slots=True)
class Challenge:
    """One `WWW-Authenticate` field: a scheme and its parameters, each at most once (RFC 9110 section 11.6.1)."""

    parameters: Mapping[str, str]
    scheme: str = BEARER

    def __str__(self) -> str:
        for value in self.parameters.values():
            if not _DESCRIPTION_CHARACTERS.issuperset(value):
                raise ValueError("a challenge takes printable ASCII without quotation mark and backslash")
        parameters = ", ".join(f'{name}="{value}"' for name, value in self.parameters.items() if value)
        return f"{self.scheme} {parameters}" if parameters else self.scheme


class TokenFault(StrEnum):
    """Which rule a refused token broke, in the order the rules are applied. For logs and figures only."""

    LENGTH = "length"
    FORMAT = "format"
    ENCODING = "encoding"
    HEADER = "header"
    ALGORITHM = "algorithm"
    TYPE = "type"
    HEADER_PARAMETER = "header_parameter"
    KEY_ID = "key_id"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    PAYLOAD = "payload"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    SUBJECT = "subject"
    CLIENT = "client"
    TOKEN_ID = "token_id"
    TIME_FORMAT = "time_format"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUED_IN_FUTURE = "issued_in_future"
    LIFETIME = "lifetime"
    TOO_OLD = "too_old"
    CONFIRMATION = "confirmation"
    OTHER_KIND = "other_kind"
    SCOPE = "scope"
    CLAIM = "claim"
    STATUS = "status"
    REVOKED = "revoked"


class ChallengeError(ServiceError):
    """A refusal that carries a challenge and is never stored by a cache.

    It is raised without knowing whose it is; `within` gives it the protection space of the resource.
    """

    names_error: ClassVar[bool] = True

    def __init__(
        self, description: str, parameters: Mapping[str, str] = _NOTHING, space: ProtectionSpace = UNNAMED_SPACE
    ) -> None:
        super().__init__(description)
        self.parameters = parameters
        self.space = space

    def within(self, space: ProtectionSpace) -> Self:
        """This refusal as the resource in `space` makes it."""
        self.space = space
        return self

    @property
    def headers(self) -> Mapping[str, str]:
        """The challenges, worded when the answer is written: whose they are is known only then."""
        headers = CIMultiDict((hdrs.WWW_AUTHENTICATE, str(challenge)) for challenge in self.challenges())
        headers[hdrs.CACHE_CONTROL] = "no-store"
        return CIMultiDictProxy(headers)

    def challenges(self) -> tuple[Challenge, ...]:
        """The fields that are sent, the scheme that was tried first."""
        return (Challenge(self._members()),)

    def _members(self) -> dict[str, str]:
        members = {"realm": self.space.realm or ""}
        if self.names_error:
            members |= {"error": self.code, "error_description": self.description}
        return members | {"resource_metadata": self.space.resource_metadata or ""} | dict(self.parameters)


class MissingCredentials(ChallengeError):
    """No credentials, or of a scheme not taken here: a challenge without an error (RFC 6750 section 3)."""

    status = 401
    code = "missing_credentials"
    names_error = False

    def __init__(self) -> None:
        super().__init__("An access token is needed.")

    def _members(self) -> dict[str, str]:
        return super()._members() | {"scope": str(self.space.scope)}


class MalformedCredentials(ChallengeError):
    """The request carries credentials twice, or a scheme without a token (RFC 6750 section 3.1)."""

    status = 400
    code = "invalid_request"


class InvalidToken(ChallengeError):
    """The token is malformed, forged, expired, revoked or not for us (RFC 6750 section 3.1).

    The text is one and the same for all that can be wrong before the signature was found good; `fault` says
    more to logs and figures.
    """

    status = 401
    code = "invalid_token"

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(_TOKEN_TEXTS.get(fault, _TOKEN_TEXT))
        self.fault = fault


_TOKEN_TEXT: Final = "The access token is not valid here."
# Known only once the signature was good, so these tell a forger nothing.
_TOKEN_TEXTS: Final = {
    TokenFault.EXPIRED: "The access token has expired.",
    TokenFault.REVOKED: "The access token was revoked.",
    TokenFault.NOT_YET_VALID: "The access token is not valid yet.",
}


class InsufficientScope(ChallengeError):
    """The token is good but does not reach this far; `scope` is all that the operation needs (RFC 6750 section 3.1)."""

    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: Scope) -> None:
        super().__init__("The access token does not have the scope this needs.", {"scope": str(scope)})
        self.scope = scope


class InsufficientUserAuthentication(ChallengeError):
    """The user's sign-in is too weak or too old for this (RFC 9470 section 3). `max_age` is seconds."""

    status = 401
    code = "insufficient_user_authentication"

    def __init__(self, *, acr_values: tuple[str, ...] = (), max_age: int | None = None) -> None:
        parameters = {"acr_values": " ".join(acr_values)}
        if max_age is not None:
            parameters["max_age"] = str(max_age)
        super().__init__("This needs a stronger or a more recent sign-in.", parameters)


def read_credentials(headers: CIMultiDictProxy[str], *, jwt_scheme: bool = False) -> str:
    """The unverified access token of a request (RFC 6750 section 2.1).

    `jwt_scheme` also takes the older spelling `Authorization: JWT <token>`, which is checked just the same.
    MissingCredentials without a token of ours, MalformedCredentials for two fields or an empty or divided token.
    """
    fields = headers.getall(hdrs.AUTHORIZATION, ())
    if not fields:
        raise MissingCredentials
    if len(fields) > 1:
        raise MalformedCredentials("The request carries more than one Authorization field.")
    scheme, _, unverified_token = fields[0].partition(" ")
    if scheme != BEARER and scheme.lower() != "bearer" and not (jwt_scheme and scheme.lower() == "jwt"):
        raise MissingCredentials
    unverified_token = unverified_token.lstrip(" ")
    if not unverified_token:
        raise MalformedCredentials("The Authorization field carries no token.")
    if " " in unverified_token or "\t" in unverified_token:
        raise MalformedCredentials("The Authorization field carries more than one token.")
    return unverified_token
