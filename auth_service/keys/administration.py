"""What an operator does with the keys: look, rotate, revoke, seal anew. The commands themselves are the CLI's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auth_service.keys.private_key import PrivateKey
from auth_service.keys.rotation import KeyStoreConflict, MakeKey, NewKey, Rotation, add_key, make_changes
from auth_service.keys.schedule import Change, KeySettings, in_state, next_change_at
from auth_service.keys.sealing import MasterKeys, MasterKeyUnusable
from auth_service.model.caller import NOWHERE
from auth_service.model.revocation import revoked_key
from auth_service.model.security_event import OPERATOR, Act, SecurityEventKind
from auth_service.model.signing_key import KeyState, SigningKeyRecord
from auth_service.model.storage import Records, Storage
from shared.clock import Clock


@dataclass(frozen=True, slots=True)
class KeyListing:
    """A stored key and what comes next: its state changes at `next_change_at` (None: not by itself)."""

    record: SigningKeyRecord
    next_change_at: float | None
    sealed_currently: bool | None
    """Whether the current master key seals it; None when the private part is destroyed."""


@dataclass(frozen=True, slots=True)
class StartedRotation:
    """The key that will sign next, and from when on; `is_new` is false when it was waiting already."""

    kid: str
    signs_at: float
    is_new: bool


@dataclass(frozen=True, slots=True)
class Revocation:
    """A key that was taken out, and the one that signs from now on."""

    kid: str
    signing_kid: str


class UnknownKey(LookupError):
    """There is no signing key with this kid."""


class KeyAdministration:
    """The operator's commands. They work while services run, which follow within seconds, and while none does.

    Every method raises DatabaseUnavailable when storage fails; it can simply be called again then.
    """

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

    async def listing(self) -> Sequence[KeyListing]:
        """Every key there ever was, oldest first."""
        keys = await self._storage.read(lambda records: records.signing_keys.all())
        current = self._master_keys.current_id
        return [
            KeyListing(
                record=key,
                next_change_at=next_change_at(key, self._settings),
                sealed_currently=None if key.sealed is None else key.sealed.master_key_id == current,
            )
            for key in keys
        ]

    async def rotate(self) -> StartedRotation:
        """Publish a new key now, to sign as soon as every cache can have it. One that waits already is that key.

        Raises MasterKeyUnusable where the keys that are there cannot be opened: services that can open those could not
        open the new one.
        """
        for record in await self._published():
            self._open(record)
        added = await self._rotation.introduce(by_command=True)
        await self._rotation.apply(await self._published())
        published = await self._published()
        coming = in_state(published, KeyState.PENDING) or in_state(published, KeyState.ACTIVE)
        if coming is None:
            raise KeyStoreConflict("no key signs and none waits")
        signs_at = next_change_at(coming, self._settings) if coming.state is KeyState.PENDING else None
        return StartedRotation(
            kid=coming.kid,
            signs_at=coming.changed_at if signs_at is None else signs_at,
            is_new=added is not None and added.kid == coming.kid,
        )

    async def revoke(self, kid: str, *, lost_master_key: bool = False) -> Revocation:
        """Take a published key out at once; when it was the one that signs, another signs at once.

        Tokens that it signed are refused at once by whoever follows the revocation feed, and by others as soon as they
        read the key set again. Raises UnknownKey, and IllegalKeyMove when the key is retired or revoked already.

        Where a new key has to be stored and a master key that sealed one of those that are there is not here, raises
        MasterKeyUnusable: services that have that one could not open the new key. With `lost_master_key` nobody has it.
        """
        replacement = await self._rotation.make()
        signing_kid = await self._storage.write(
            lambda records: self._revoke(records, kid, replacement, lost_master_key=lost_master_key)
        )
        if signing_kid is None:
            raise UnknownKey(kid)
        return Revocation(kid=kid, signing_kid=signing_kid)

    async def reseal(self) -> Sequence[str]:
        """Seal every private key anew under the current master key, all or none; return the kids it touched.

        Raises MasterKeyUnusable when a key can be opened with none of the master keys that are given.
        """
        return await self._storage.write(self._reseal)

    def _open(self, record: SigningKeyRecord) -> None:
        if record.sealed is not None:
            self._master_keys.open(record.kid, record.sealed)

    def _can_open(self, record: SigningKeyRecord) -> bool:
        try:
            self._open(record)
        except MasterKeyUnusable:
            return False
        return True

    def _require_master_keys(self, keys: Sequence[SigningKeyRecord]) -> None:
        for key in keys:
            if key.sealed is not None:
                self._master_keys.sealer(key.kid, key.sealed)

    async def _published(self) -> Sequence[SigningKeyRecord]:
        return await self._storage.read(lambda records: records.signing_keys.published())

    def _revoke(self, records: Records, kid: str, replacement: NewKey, *, lost_master_key: bool) -> str | None:
        keys = records.signing_keys
        keys.lock()
        record = keys.find(kid)
        if record is None:
            return None
        now = self._clock.now()
        withdrawal = Change(record, record.revoked(now))
        records.revocations.append(revoked_key(kid, at=now))
        remaining = [other for other in keys.published() if other.kid != kid]
        active, waiting = in_state(remaining, KeyState.ACTIVE), in_state(remaining, KeyState.PENDING)
        act = Act(now, NOWHERE, OPERATOR)
        make_changes(records, [withdrawal], act)
        if active is not None:
            return active.kid
        if waiting is not None and self._can_open(waiting):
            # Rather than the replacement: some caches have it already.
            make_changes(records, [Change(waiting, waiting.activated(now))], act)
            return waiting.kid
        if not lost_master_key:
            self._require_master_keys([record, *remaining])
        if waiting is not None:
            # It could never sign, and a key that cannot be opened keeps every process from reading the keys.
            make_changes(records, [Change(waiting, waiting.revoked(now))], act)
        add_key(records, replacement.record(KeyState.ACTIVE, now), act)
        return replacement.kid

    def _reseal(self, records: Records) -> list[str]:
        keys = records.signing_keys
        keys.lock()
        act = Act(self._clock.now(), NOWHERE, OPERATOR)
        resealed: list[str] = []
        for record in keys.published():
            if record.sealed is None or record.sealed.master_key_id == self._master_keys.current_id:
                continue
            sealed = self._master_keys.reseal(record.kid, record.sealed)
            make_changes(records, [Change(record, record.resealed(sealed))], act)
            records.security_events.append(act.done(SecurityEventKind.SIGNING_KEY_RESEALED, kid=record.kid))
            resealed.append(record.kid)
        return resealed
