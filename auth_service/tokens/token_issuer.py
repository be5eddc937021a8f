"""From an open session to a token set: the last step of every sign-in and every grant."""

from __future__ import annotations

from auth_service.identity.sessions import OpenSession
from auth_service.tokens.access_tokens import AccessTokens
from auth_service.tokens.token_set import TokenSet
from shared.scope import Scope


class TokenIssuer:
    """Signs what was proven and stored. It stores nothing: the session is committed before it is called."""

    def __init__(self, access_tokens: AccessTokens) -> None:
        self._access_tokens = access_tokens

    def require_key(self) -> None:
        """Raise Unavailable when nothing can be signed at present.

        To be asked before anything is stored: a refresh token that was spent for an answer which then cannot be made
        looks like a stolen one when its owner comes again.
        """
        self._access_tokens.require_key()

    def issue(self, opened: OpenSession, scope: Scope) -> TokenSet:
        """The answer's tokens; `scope` is the session's or a part of it."""
        return TokenSet(
            access_token=self._access_tokens.mint(opened.account, opened.session, scope),
            refresh_token=opened.refresh_token.clear_text(),
            expires_in=self._access_tokens.lifetime_seconds,
            scope=scope,
        )
