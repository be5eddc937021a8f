"""Which keys are believed when they sign what an issuer says to us: those that it publishes, less what it revoked.

An issuer's feed may revoke a key while a key set that still holds it is in force. What such a key signs is not
believed, be it a document of the feed itself or a status list.
"""

from __future__ import annotations

from enum import StrEnum

from resource_service.protection.remote_key_set import RemoteKeySet
from resource_service.protection.revocation import RevokedSet
from shared.jwk import PublicJwk
from shared.revocation_feed import identifier_hash


class KeyFault(StrEnum):
    """Why a key is not believed."""

    UNKNOWN = "unknown_key"
    REVOKED = "revoked_key"


class KeyRefused(Exception):
    """A key id behind which there is no key to be believed."""

    def __init__(self, fault: KeyFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class IssuerKeys:
    """The keys of one issuer; KeyRefused where there is none to be believed."""

    def __init__(self, published: RemoteKeySet, revoked: RevokedSet) -> None:
        self._published = published
        self._revoked = revoked

    @property
    def are_usable(self) -> bool:
        """Whether there is a key set in force at all."""
        return self._published.health().usable

    def find(self, kid: str) -> PublicJwk:
        """The key with this id in the set in force."""
        self._require_unrevoked(kid)
        return _known(self._published.find(kid))

    async def find_or_fetch(self, kid: str) -> PublicJwk:
        """The key with this id, fetched when it is not there."""
        self._require_unrevoked(kid)
        return _known(await self._published.find_or_fetch(kid))

    def _require_unrevoked(self, kid: str) -> None:
        if self._revoked.covers_key(identifier_hash(kid)):
            raise KeyRefused(KeyFault.REVOKED)


def _known(key: PublicJwk | None) -> PublicJwk:
    if key is None:
        raise KeyRefused(KeyFault.UNKNOWN)
    return key
