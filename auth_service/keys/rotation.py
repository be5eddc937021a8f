"""Keys change state here: each move is one transaction, and the database settles which process makes it.

Every process runs the same schedule. A transaction takes the keys' lock first and decides on what it then reads,
so of several that come at once the first moves and the others find nothing left to do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auth_service.keys.private_key import ALGORITHM, PrivateKey
from auth_service.keys.schedule import Change, KeySettings, due_changes, newcomer
from auth_service.keys.sealing import MasterKeys
from auth_service.model.caller import NOWHERE
from auth_service.model.security_event import OPERATOR, Act, SecurityEventKind
from auth_service.model.signing_key import KeyState, SealedPrivateKey, SigningKeyRecord
from auth_service.model.storage import Records, Storage
from shared.clock import Clock

SCHEDULE = "schedule"
"""The actor in the audit trail of what the rotation does by itself."""

MakeKey = Callable[[int], PrivateKey]


class KeyStoreConflict(Exception):
    """A key changed under the lock that should have kept it: the transaction is rolled back."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made and sealed, and is not stored yet."""

    kid: str
    key_bits: int
    public_jwk: str
    sealed: SealedPrivateKey

    def record(self, state: KeyState, at: float) -> SigningKeyRecord:
        """The key as a record that enters the store in `state`."""
        return SigningKeyRecord(
            kid=self.kid,
            state=state,
            algorithm=ALGORITHM,
            key_bits=self.key_bits,
            public_jwk=self.public_jwk,
            sealed=self.sealed,
            created_at=at,
            changed_at=at,
            observed_at=None,
        )


class Rotation:
    """The schedule, applied to the stored keys. Raises `DatabaseUnavailable` when storage fails."""

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
        self._make_key = make_key

    async def apply(self, published: Sequence[SigningKeyRecord]) -> bool:
        """Do what is due, where `published` is what was last read; return whether anything may have changed."""
        now = self._clock.now()
        changed = False
        if due_changes(published, now, self._settings):
            await self._storage.write(self._advance)
            changed = True
        if newcomer(published, now, self._settings) is not None:
            await self.introduce(by_command=False)
            changed = True
        return changed

    async def introduce(self, *, by_command: bool) -> SigningKeyRecord | None:
        """Make a key and store it where the schedule, or an operator, wants one.

        Returns it, or None when by then another process had brought one.
        """
        new_key = await self.make()
        return await self._storage.write(lambda records: self._store(records, new_key, by_command=by_command))

    async def make(self) -> NewKey:
        """A new key, made and sealed on a thread, outside any transaction."""
        return await asyncio.to_thread(self._make)

    def _make(self) -> NewKey:
        key = self._make_key(self._settings.key_bits)
        kid = key.public.kid
        return NewKey(
            kid=kid,
            key_bits=key.bits,
            public_jwk=json.dumps(key.public.as_json_object()),
            sealed=self._master_keys.seal(kid, key.to_pkcs8()),
        )

    def _advance(self, records: Records) -> None:
        keys = records.signing_keys
        keys.lock()
        published = keys.published()
        # The clock is read after the records: an instant recorded as "seen committed" must not lie before the commit.
        now = self._clock.now()
        make_changes(records, due_changes(published, now, self._settings), Act(now, NOWHERE, SCHEDULE))

    def _store(self, records: Records, new_key: NewKey, *, by_command: bool) -> SigningKeyRecord | None:
        keys = records.signing_keys
        keys.lock()
        published = keys.published()
        now = self._clock.now()
        state = newcomer(published, now, self._settings)
        if state is None and by_command and not any(record.state is KeyState.PENDING for record in published):
            state = KeyState.PENDING
        if state is None:
            return None
        record = new_key.record(state, now)
        add_key(records, record, Act(now, NOWHERE, OPERATOR if by_command else SCHEDULE))
        return record


def add_key(records: Records, record: SigningKeyRecord, act: Act) -> None:
    """Store a new key and its event; raise KeyStoreConflict, so that none is kept, when its place is taken."""
    if not records.signing_keys.add(record):
        raise KeyStoreConflict(record.kid)
    detail = {"kid": record.kid, "state": record.state.value, "key_bits": str(record.key_bits)}
    records.security_events.append(act.done(SecurityEventKind.SIGNING_KEY_INTRODUCED, **detail))


def make_changes(records: Records, changes: Sequence[Change], act: Act) -> None:
    """Write `changes` in their order, each move with its event; KeyStoreConflict, so that none is kept."""
    for change in changes:
        if not records.signing_keys.replace(change.before, change.after):
            raise KeyStoreConflict(change.before.kid)
        before, after = change.before.state.value, change.after.state.value
        if before != after:
            detail = {"kid": change.after.kid, "former_state": before, "state": after}
            records.security_events.append(act.done(SecurityEventKind.SIGNING_KEY_MOVED, **detail))
