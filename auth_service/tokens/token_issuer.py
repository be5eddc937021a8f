"""From an authorization to a token set: the last step of every sign-in and every grant."""

from __future__ import annotations

from dataclasses import dataclass

from auth_service.model.account import Account
from auth_service.model.refresh_token import RefreshToken
from auth_service.model.session import Session
from auth_service.tokens.access_tokens import AccessTokens
from auth_service.tokens.token_set import TokenSet
from shared.scope import Scope


@dataclass(frozen=True, slots=True)
class Authorization:
    """What was proven and stored: whose session, for how much of its scope, and the refresh token that goes on."""

    account: Account
    session: Session
    scope: Scope
    refresh_token: RefreshToken


class TokenIssuer:
    """Signs what an authorization allows. It stores nothing: the session is committed before it is called."""

    def __init__(self, access_tokens: AccessTokens) -> None:
        self._access_tokens = access_tokens

    def issue(self, authorization: Authorization) -> TokenSet:
        """The answer's tokens; the access token names the scope authorized, never more."""
        return TokenSet(
            access_token=self._access_tokens.mint(authorization.account, authorization.session, authorization.scope),
            refresh_token=authorization.refresh_token.clear_text(),
            expires_in=self._access_tokens.lifetime_seconds,
            scope=authorization.scope,
        )
