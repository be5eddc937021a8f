"""What this process signs with and publishes now: a snapshot of the stored keys, with a lease.

Signing and publishing touch memory only. A background task reads the keys every few seconds and moves the rotation
on; when it cannot, the snapshot's leases run out and the ring refuses rather than guess (`schedule` says why).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from auth_service.keys.private_key import ALGORITHM, PrivateKey
from auth_service.keys.rotation import MakeKey, Rotation
from auth_service.keys.schedule import KeySettings, in_state
from auth_service.keys.sealing import MasterKeys, MasterKeyUnusable
from auth_service.model.signing_key import KeyState, SigningKeyRecord
from auth_service.model.storage import Storage
from shared import base64url
from shared.clock import Clock
from shared.errors import Unavailable
from shared.jwk import PublicJwk

log = structlog.get_logger(__name__)


class SigningKeysUnavailable(Unavailable):
    """This process has not been able to read the keys for too long to sign with or to publish them."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The key set as it is sent (RFC 7517 section 5); `etag` is a strong entity tag (RFC 9110 section 8.8.3)."""

    body: bytes
    etag: str
    by_kid: Mapping[str, PublicJwk]

    @classmethod
    def of(cls, keys: Sequence[PublicJwk]) -> KeySet:
        """The document of `keys`, public members only."""
        body = json.dumps({"keys": [key.as_json_object() for key in keys]}, separators=(",", ":")).encode()
        etag = base64url.encode(hashlib.sha256(body).digest())
        return cls(body=body, etag=f'"{etag}"', by_kid=MappingProxyType({key.kid: key for key in keys}))


@dataclass(frozen=True, slots=True)
class Reading:
    """When a snapshot began to be read, on both clocks."""

    wall: float
    monotonic: float

    @classmethod
    def now(cls, clock: Clock) -> Reading:
        return cls(wall=clock.now(), monotonic=clock.monotonic())

    def age(self, clock: Clock) -> float:
        """Seconds since then, the longer of the two: a machine that slept sees it on the wall clock only."""
        return max(clock.monotonic() - self.monotonic, clock.now() - self.wall)


class ActiveKey:
    """The key that signs (`shared.jws.SigningKey`), for as long as its lease runs."""

    __slots__ = ("_clock", "_key", "_lease_seconds", "_read", "algorithm", "kid")

    def __init__(self, key: PrivateKey, read: Reading, lease_seconds: float, clock: Clock) -> None:
        self.kid = key.public.kid
        self.algorithm = ALGORITHM
        self._key = key
        self._read = read
        self._lease_seconds = lease_seconds
        self._clock = clock

    @property
    def is_leased(self) -> bool:
        """Whether this key may still be used without another look at the database."""
        return self._read.age(self._clock) <= self._lease_seconds

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, in line; SigningKeysUnavailable when the lease has run out.

        The lease is looked at here and not when the key is handed out: whoever holds this object across an
        `await` must not sign with a key that has been replaced meanwhile.
        """
        if not self.is_leased:
            raise SigningKeysUnavailable("Nothing can be signed at present.")
        return self._key.sign(message)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    read: Reading
    active: ActiveKey | None
    key_set: KeySet
    private_keys: Mapping[str, PrivateKey]


class KeyRing:
    """This process's view of the signing keys. Made by `open_key_ring`."""

    name = "signing_keys"

    def __init__(
        self,
        storage: Storage,
        master_keys: MasterKeys,
        settings: KeySettings,
        clock: Clock,
        make_key: MakeKey = PrivateKey.generate,
    ) -> None:
        self._storage = storage
        self._master_keys = master_keys
        self._settings = settings
        self._clock = clock
        self._rotation = Rotation(storage, master_keys, settings, clock, make_key)
        self._refreshing = asyncio.Lock()
        self._snapshot: _Snapshot | None = None

    def signing_key(self) -> ActiveKey:
        """The key that signs now; SigningKeysUnavailable (503) when there is none that this process may use."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.active is None or not snapshot.active.is_leased:
            raise SigningKeysUnavailable("Nothing can be signed at present.")
        return snapshot.active

    def key_set(self) -> KeySet:
        """The public keys; SigningKeysUnavailable (503) when this process cannot vouch for them any more."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.read.age(self._clock) > self._settings.key_set_lease_seconds:
            raise SigningKeysUnavailable("The key set cannot be vouched for at present.")
        return snapshot.key_set

    async def report(self) -> tuple[bool, Mapping[str, object]]:
        """Readiness: whether this process can sign, with which key, and how old its knowledge is."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.active is None:
            return False, {}
        age = round(snapshot.read.age(self._clock), 1)
        return snapshot.active.is_leased, {"kid": snapshot.active.kid, "age_seconds": age}

    async def refresh(self) -> None:
        """Read the keys, adopt them, and do what the rotation wants done.

        Raises DatabaseUnavailable or MasterKeyUnusable; the former snapshot and its leases stand then.
        """
        async with self._refreshing:
            published = await self._adopt()
            if await self._rotation.apply(published):
                await self._adopt()

    async def follow(self) -> None:
        """Refresh for ever. A failure is logged and tried again: the leases see to it that none does harm."""
        while True:
            await self._clock.sleep(self._settings.refresh_seconds)
            try:
                await self.refresh()
            except MasterKeyUnusable as error:
                log.error("signing_keys_unusable", cause=str(error))
            except Unavailable:
                log.warning("signing_keys_not_refreshed")
            except Exception:
                log.exception("signing_keys_not_refreshed")

    async def _adopt(self) -> list[SigningKeyRecord]:
        read = Reading.now(self._clock)
        published = await self._storage.read(lambda records: records.signing_keys.published(), vital=True)
        known = self._snapshot.private_keys if self._snapshot is not None else {}
        private_keys = {record.kid: known.get(record.kid) or await self._open(record) for record in published}
        self._snapshot = self._snapshot_of(published, private_keys, read)
        return published

    def _snapshot_of(
        self, published: Sequence[SigningKeyRecord], private_keys: Mapping[str, PrivateKey], read: Reading
    ) -> _Snapshot:
        key_set = KeySet.of([key.public for key in private_keys.values()])
        former = self._snapshot
        if former is not None and former.key_set.body == key_set.body:
            key_set = former.key_set
        active = in_state(published, KeyState.ACTIVE)
        signer = None
        if active is not None:
            lease = self._settings.signing_lease_seconds
            signer = ActiveKey(private_keys[active.kid], read, lease, self._clock)
        return _Snapshot(read, signer, key_set, private_keys)

    async def _open(self, record: SigningKeyRecord) -> PrivateKey:
        """Unseal a key once. What is published is taken from the sealed part, never from the row's clear columns:
        whoever can write to the table but has no master key cannot slip in a key of his own."""
        if record.sealed is None or record.algorithm != ALGORITHM:
            raise MasterKeyUnusable(f"the signing key {record.kid} is of a kind that this release cannot use")
        key = PrivateKey.from_pkcs8(self._master_keys.open(record.kid, record.sealed))
        if key.public.kid != record.kid:
            raise MasterKeyUnusable(f"the signing key {record.kid} in the database is not the one it says it is")
        return key


@contextlib.asynccontextmanager
async def open_key_ring(
    storage: Storage,
    master_keys: MasterKeys,
    settings: KeySettings,
    clock: Clock,
    make_key: MakeKey = PrivateKey.generate,
) -> AsyncIterator[KeyRing]:
    """The key ring, ready to sign and following the database until the block ends.

    The very first start makes the first key. Raises DatabaseUnavailable, or MasterKeyUnusable with what to do.
    """
    ring = KeyRing(storage, master_keys, settings, clock, make_key)
    # Once: a first key that is made, by whichever process, is stored when this returns.
    await ring.refresh()
    following = asyncio.create_task(ring.follow(), name="key ring")
    try:
        yield ring
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
