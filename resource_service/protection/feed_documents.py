"""Which documents of a feed are believed: those that the issuer signed, and as news only those of the present."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from resource_service.protection.issuer_keys import IssuerKeys
from shared.clock import Clock
from shared.jwk import PublicJwk
from shared.revocation_feed import InvalidDocument, RevocationDocument, UnverifiedDocument, read_document

MAX_DIFFERENCE_SECONDS: Final = 60
"""The most by which a document's `iat` may differ from our clock: its age, and the difference of the clocks."""


class FeedFault(StrEnum):
    """What was wrong with a document."""

    INVALID = "invalid_document"
    NOT_CURRENT = "not_current"
    OUT_OF_PLACE = "out_of_place"
    TOO_MANY = "too_many_entries"
    INTERNAL = "internal"


class FeedFailed(Exception):
    """A document that is not used."""

    def __init__(self, fault: FeedFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class FeedDocuments:
    """Verifies the documents of one issuer's feed; FeedFailed and KeyRefused for what is not believed."""

    def __init__(self, issuer: str, keys: IssuerKeys, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock

    async def news(self, body: bytes) -> RevocationDocument:
        """A document that was just fetched: the issuer's, and of the present. Its key is fetched when it is new."""
        unverified = _read(body)
        document = self._verify(unverified, await self._keys.find_or_fetch(unverified.kid))
        if abs(self._clock.now() - document.issued_at) > MAX_DIFFERENCE_SECONDS:
            raise FeedFailed(FeedFault.NOT_CURRENT)
        return document

    def authentic(self, body: bytes) -> RevocationDocument:
        """A document of any time, with a key that is there: what the issuer once revoked holds until it expires."""
        unverified = _read(body)
        return self._verify(unverified, self._keys.find(unverified.kid))

    def _verify(self, unverified: UnverifiedDocument, key: PublicJwk) -> RevocationDocument:
        try:
            return unverified.verify(key, self._issuer)
        except InvalidDocument as error:
            raise FeedFailed(FeedFault.INVALID) from error


def _read(body: bytes) -> UnverifiedDocument:
    try:
        return read_document(body)
    except InvalidDocument as error:
        raise FeedFailed(FeedFault.INVALID) from error
