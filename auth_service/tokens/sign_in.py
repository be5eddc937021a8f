"""From presented credentials to a session's first token set."""

from __future__ import annotations

from auth_service.identity.accounts import Accounts, Credentials
from auth_service.identity.sessions import Sessions
from auth_service.model.caller import Caller
from auth_service.model.session import SessionGrant
from auth_service.oauth.authentication import password_authentication
from auth_service.oauth.resources import Resources
from auth_service.tokens.access_tokens import FIRST_PARTY_CLIENT
from auth_service.tokens.token_issuer import TokenIssuer
from auth_service.tokens.token_set import SignedIn
from shared.clock import Clock
from shared.errors import ServiceError


class InvalidCredentials(ServiceError):
    """The name and the password do not prove an account that may sign in; what is wrong is never said."""

    status = 401
    code = "invalid_credentials"

    def __init__(self) -> None:
        # Every 401 names a scheme (RFC 9110 section 15.5.2); Bearer is what this leads to.
        super().__init__(
            "The user name or the password is wrong.", headers={"WWW-Authenticate": 'Bearer realm="login"'}
        )


class SignIn:
    """Opens first-party sessions for the resource that the scope is for."""

    def __init__(
        self, accounts: Accounts, sessions: Sessions, resources: Resources, issuer: TokenIssuer, clock: Clock
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._resources = resources
        self._issuer = issuer
        self._clock = clock

    async def with_password(self, presented: Credentials, asked_scope: str | None, caller: Caller) -> SignedIn:
        """The first token set of a new session.

        Unavailable, InvalidScope and TooManyRequests before any credential is looked at; InvalidCredentials.
        """
        self._issuer.require_key()
        resource, scope = self._resources.grant(asked_scope)
        proof = await self._accounts.authenticate(presented, caller)
        if proof is None:
            raise InvalidCredentials
        grant = SessionGrant(
            client_id=FIRST_PARTY_CLIENT,
            scope=scope,
            audience=resource.identifier,
            authentication=password_authentication(self._clock.now()),
        )
        opened = await self._sessions.open(proof.account, grant, caller, paid=proof.paid)
        if opened is None:
            raise InvalidCredentials
        return SignedIn(self._issuer.issue(opened, scope), proof.devices)
