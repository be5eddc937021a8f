"""Access tokens that the auth service itself takes: for what a signed-in user does to the own account.

It checks them as a resource server would, with its own public keys, and beyond that may look at the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from auth_service.identity.sessions import Sessions
from auth_service.model.session import Session
from auth_service.oauth.resources import Resources
from auth_service.tokens.access_tokens import FIRST_PARTY_CLIENT
from shared.access_token import AccessTokenDecoder, VerifiedAccessToken
from shared.bearer import ChallengeError, InvalidToken, ProtectionSpace, TokenFault, read_credentials
from shared.clock import Clock
from shared.jwk import PublicJwk
from shared.token_rules import TokenRules


class PublicKeys(Protocol):
    """The published keys by key id."""

    @property
    def by_kid(self) -> Mapping[str, PublicJwk]: ...


class PublicKeySource(Protocol):
    """Where the public keys come from: the key ring."""

    def key_set(self) -> PublicKeys: ...


@dataclass(frozen=True, slots=True)
class FirstPartyToken:
    """What a verified first-party access token says: whose it is, of which session, and which it is."""

    sub: str
    sid: str
    jti: str


class FirstPartyBearer:
    """Reads the first-party access token of a request; another client's token does not reach the account."""

    def __init__(
        self, issuer: str, resources: Resources, keys: PublicKeySource, sessions: Sessions, clock: Clock
    ) -> None:
        self._decoders: Sequence[AccessTokenDecoder] = [
            AccessTokenDecoder(TokenRules(issuer=issuer, audience=resource.identifier)) for resource in resources
        ]
        self._keys = keys
        self._sessions = sessions
        self._clock = clock
        self._space = ProtectionSpace(realm=issuer)

    def read(self, request: web.Request) -> FirstPartyToken:
        """Whose session the token says it is; a ChallengeError says what is wrong with the credentials."""
        try:
            token = self._decode(read_credentials(request.headers, jwt_scheme=True))
            if token.client_id != FIRST_PARTY_CLIENT or token.session_id is None:
                raise InvalidToken(TokenFault.CLIENT)
        except ChallengeError as error:
            raise error.within(self._space) from None
        return FirstPartyToken(token.subject, token.session_id, token.token_id)

    async def live_session(self, request: web.Request) -> Session:
        """The session the token belongs to; InvalidToken when it, or the token alone, was ended before it expired."""
        token = self.read(request)
        session = await self._sessions.live(token.sid, token_id=token.jti)
        if session is None or session.sub != token.sub:
            raise InvalidToken(TokenFault.REVOKED).within(self._space)
        return session

    def recognise(self, unverified_token: str) -> VerifiedAccessToken | None:
        """The token when it is one of ours that has not expired, of whatever client; None for anything else."""
        try:
            return self._decode(unverified_token)
        except InvalidToken:
            return None

    def _decode(self, unverified_token: str) -> VerifiedAccessToken:
        keys = self._keys.key_set().by_kid
        for decoder in self._decoders[:-1]:
            try:
                return decoder.decode(unverified_token, keys, self._clock.now())
            except InvalidToken as error:
                if error.fault is not TokenFault.AUDIENCE:
                    raise
        return self._decoders[-1].decode(unverified_token, keys, self._clock.now())
