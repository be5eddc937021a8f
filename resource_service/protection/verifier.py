"""From the text of a token to a verified one, for one resource and the issuers it trusts.

Each issuer has its own keys, rules and cache, so nothing that one of them does reaches the tokens of another.
`verify_at_once` never waits; only a key id that is not known yet leads to `verify_after_refresh`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from resource_service.protection.remote_key_set import RemoteKeySet
from resource_service.protection.revocation import RevocationCheck
from resource_service.protection.token_cache import VerifiedTokenCache
from shared.access_token import AccessTokenDecoder, VerifiedAccessToken, peek_issuer
from shared.bearer import InvalidToken, TokenFault
from shared.clock import Clock
from shared.token_rules import TokenRules

log = structlog.get_logger(__name__)

# Whoever sends a token with another fault holds one that was really issued: worth a line, and nobody can make many.
_ANYBODY_CAN_MAKE: Final = frozenset(
    {
        TokenFault.LENGTH,
        TokenFault.FORMAT,
        TokenFault.ENCODING,
        TokenFault.HEADER,
        TokenFault.ALGORITHM,
        TokenFault.TYPE,
        TokenFault.HEADER_PARAMETER,
        TokenFault.KEY_ID,
        TokenFault.UNKNOWN_ISSUER,
        TokenFault.UNKNOWN_KEY,
        TokenFault.SIGNATURE,
    }
)

# Expiry is everyday life; a revoked token gets a line with its identity.
_NOT_SAID: Final = _ANYBODY_CAN_MAKE | {TokenFault.EXPIRED, TokenFault.REVOKED}


class IssuerVerifier:
    """Verifies the tokens of one issuer."""

    def __init__(self, rules: TokenRules, keys: RemoteKeySet, cache: VerifiedTokenCache) -> None:
        self.issuer = rules.issuer
        self.keys = keys
        self.cache = cache
        self._decoder = AccessTokenDecoder(rules)

    def recall(self, unverified_token: str, now: float, monotonic: float) -> VerifiedAccessToken | None:
        """The token from the cache, its time checked again; None when it, or a usable key set, is not there."""
        snapshot = self.keys.snapshot
        if snapshot is None or monotonic >= snapshot.hard_until:
            return None
        verified = self.cache.recall(unverified_token, snapshot.generation)
        if verified is None:
            return None
        try:
            self._decoder.check_time(verified, now)
        except InvalidToken:
            self.cache.forget(unverified_token)
            raise
        return verified

    def verify(self, unverified_token: str, now: float) -> VerifiedAccessToken | None:
        """The token verified with a key that is there; None when its key is not, and the issuer may be asked."""
        unverified = self._decoder.read(unverified_token)
        key = self.keys.find(unverified.kid)
        snapshot = self.keys.snapshot
        if key is None or snapshot is None:
            if self.keys.knows_all:
                # Said at once: this is where a flood of unknown keys ends, at the least cost.
                raise InvalidToken(TokenFault.UNKNOWN_KEY)
            return None
        verified = self._decoder.verify(unverified, key, now)
        self.cache.remember(unverified_token, verified, snapshot.generation)
        return verified

    async def verify_after_refresh(self, unverified_token: str, now: float) -> VerifiedAccessToken:
        """The token verified with a key that may have to be fetched; InvalidToken when the issuer has no such key."""
        unverified = self._decoder.read(unverified_token)
        if not self._decoder.is_plausible(unverified, now):
            raise InvalidToken(TokenFault.UNKNOWN_KEY)
        await self.keys.await_key(unverified.kid)
        verified = self.verify(unverified_token, now)
        if verified is None:
            raise InvalidToken(TokenFault.UNKNOWN_KEY)
        return verified


class Verifier:
    """Verifies tokens of all trusted issuers, and asks about revocation each time."""

    def __init__(self, issuers: Sequence[IssuerVerifier], revocation: RevocationCheck, clock: Clock) -> None:
        self._issuers = tuple(issuers)
        self._by_issuer: Mapping[str, IssuerVerifier] = {verifier.issuer: verifier for verifier in issuers}
        self._revocation = revocation
        self._clock = clock
        self.refusals: Counter[TokenFault] = Counter()

    def verify_at_once(self, unverified_token: str) -> VerifiedAccessToken | None:
        """The verified token without waiting; None when its key must be asked for first. Raises InvalidToken."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        try:
            for issuer in self._issuers:
                verified = issuer.recall(unverified_token, now, monotonic)
                if verified is not None:
                    break
            else:
                verified = self._choose(unverified_token).verify(unverified_token, now)
            if verified is not None and self._revocation.is_revoked(verified):
                raise _revoked(verified)
        except InvalidToken as error:
            self._note(error)
            raise
        return verified

    async def verify_after_refresh(self, unverified_token: str) -> VerifiedAccessToken:
        """The verified token, waiting for its key where the issuer may be asked. InvalidToken, or KeysUnavailable."""
        try:
            issuer = self._choose(unverified_token)
            verified = await issuer.verify_after_refresh(unverified_token, self._clock.now())
            if self._revocation.is_revoked(verified):
                raise _revoked(verified)
        except InvalidToken as error:
            self._note(error)
            raise
        return verified

    def _choose(self, unverified_token: str) -> IssuerVerifier:
        """Whose rules apply. With one issuer there is nothing to choose; its rules check the claim."""
        if len(self._issuers) == 1:
            return self._issuers[0]
        chosen = self._by_issuer.get(peek_issuer(unverified_token) or "")
        if chosen is None:
            raise InvalidToken(TokenFault.UNKNOWN_ISSUER)
        return chosen

    def _note(self, error: InvalidToken) -> None:
        self.refusals[error.fault] += 1
        if error.fault not in _NOT_SAID:
            log.info("token_refused", fault=error.fault.value)


def _revoked(token: VerifiedAccessToken) -> InvalidToken:
    log.info("revoked_token_presented", **token.identity())
    return InvalidToken(TokenFault.REVOKED)
