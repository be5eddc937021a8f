"""`grant_type=refresh_token` (RFC 6749 section 6, RFC 9700 section 4.14.2)."""

from __future__ import annotations

from auth_service.grants.token_request import Authorization, TokenRequest
from auth_service.identity.sessions import RefreshRequest, Sessions
from auth_service.model.session import Refusal
from auth_service.oauth.errors import InvalidGrant, InvalidScope, InvalidTarget
from shared.scope import Scope


class RefreshTokenGrant:
    """Continues a session; the token that was used has one successor, and only that goes on."""

    grant_type = "refresh_token"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def authorize(self, request: TokenRequest) -> Authorization:
        """The session and the scope asked for; InvalidGrant says the same whatever is wrong with the token."""
        scope = _narrower_scope(request.parameters.get("scope"))
        refresh = RefreshRequest(
            presented_token=request.require("refresh_token"),
            client_id=request.client_id,
            scope=scope,
            audience=request.parameters.get("resource"),
        )
        outcome = await self._sessions.refresh(refresh, request.caller)
        if outcome is Refusal.SCOPE_EXCEEDED:
            raise InvalidScope("The scope asked for is more than was granted.")
        if outcome is Refusal.OTHER_RESOURCE:
            raise InvalidTarget("The session is for another resource.")
        if isinstance(outcome, Refusal):
            raise InvalidGrant("The refresh token is not valid.")
        return Authorization(outcome, outcome.session.grant.scope if scope is None else scope)


def _narrower_scope(text: str | None) -> Scope | None:
    if text is None:
        return None
    try:
        return Scope.parse(text)
    except ValueError:
        raise InvalidScope("The scope is malformed.") from None
