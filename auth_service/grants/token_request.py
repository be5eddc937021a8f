"""A token request, parsed once (RFC 6749 section 3.2), and what every grant makes of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from auth_service.identity.sessions import OpenSession
from auth_service.model.caller import Caller
from shared.errors import InvalidRequest
from shared.scope import Scope


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The form's parameters, each at most once and none empty, with the client that was authenticated."""

    parameters: Mapping[str, str] = field(repr=False)
    client_id: str
    caller: Caller

    def require(self, name: str) -> str:
        """The parameter's value; InvalidRequest when it is missing."""
        value = self.parameters.get(name)
        if value is None:
            raise InvalidRequest(f"The parameter {name} is missing.")
        return value


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a grant proved and stored: the session that goes on, and for how much of its scope."""

    opened: OpenSession
    scope: Scope


class Grant(Protocol):
    """How one grant type comes to an authorization; refusals are those of `oauth.errors`."""

    grant_type: str

    async def authorize(self, request: TokenRequest) -> Authorization: ...
