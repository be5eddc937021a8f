"""The operator's commands, on the real storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from auth_service.keys.administration import KeyAdministration, UnknownKey
from auth_service.keys.key_ring import KeyRing
from auth_service.keys.private_key import PrivateKey
from auth_service.keys.schedule import KeySettings
from auth_service.keys.sealing import MasterKey, MasterKeys, MasterKeyUnusable, new_master_key
from auth_service.model.signing_key import IllegalKeyMove, KeyState, SealedPrivateKey
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.revocation_feed import START, RevokedKind
from shared.transactions import DatabaseUnavailable
from tests.auth_service.keys.conftest import BreakableStorage
from tests.clock import FrozenClock

SETTINGS = KeySettings()


class Installation(NamedTuple):
    """One service with its operator."""

    storage: BreakableStorage
    clock: FrozenClock
    ring: KeyRing
    administration: KeyAdministration
    make_key: Callable[[int], PrivateKey]

    def under(self, *master_keys: MasterKey) -> tuple[KeyRing, KeyAdministration]:
        """The same after a restart with other master keys, the current one first."""
        keys = MasterKeys(master_keys[0], master_keys[1:])
        parts = (self.storage, keys, SETTINGS, self.clock, self.make_key)
        return KeyRing(*parts), KeyAdministration(*parts)

    async def states(self) -> Sequence[tuple[str, KeyState]]:
        return [(key.record.kid, key.record.state) for key in await self.administration.listing()]

    async def time_passes(self, seconds: float) -> None:
        """Time passes, and the service notices twice: it moves keys, and it sees them moved."""
        self.clock.advance(seconds)
        await self.ring.refresh()
        await self.ring.refresh()


@pytest.fixture
def master_key() -> MasterKey:
    return MasterKey.parse(new_master_key())


@pytest.fixture
async def installation(
    storage: SqlStorage, clock: FrozenClock, master_key: MasterKey, make_key: Callable[[int], PrivateKey]
) -> Installation:
    """A service that has run for a moment."""
    breakable, keys = BreakableStorage(storage), MasterKeys(master_key)
    ring = KeyRing(breakable, keys, SETTINGS, clock, make_key)
    administration = KeyAdministration(breakable, keys, SETTINGS, clock, make_key)
    made = Installation(breakable, clock, ring, administration, make_key)
    await made.time_passes(0)
    # Keys made at the same instant are listed in no particular order.
    clock.advance(1)
    return made


async def test_rotate_publishes_a_key_that_signs_when_every_cache_can_have_it(installation: Installation) -> None:
    """The answer says which key and when, and that is what happens."""
    first = installation.ring.signing_key().kid
    started = await installation.administration.rotate()
    assert started.is_new
    assert started.signs_at == installation.clock.now() + SETTINGS.propagation_seconds
    await installation.time_passes(SETTINGS.propagation_seconds - 1)
    assert set(installation.ring.key_set().by_kid) == {first, started.kid}
    assert installation.ring.signing_key().kid == first
    await installation.time_passes(1)
    assert installation.ring.signing_key().kid == started.kid
    await installation.time_passes(SETTINGS.retention_seconds)
    assert await installation.states() == [(first, KeyState.RETIRED), (started.kid, KeyState.ACTIVE)]


async def test_rotate_again_while_a_key_waits_names_that_key(installation: Installation) -> None:
    """Two commands, or a command and the schedule, do not make two keys."""
    started = await installation.administration.rotate()
    installation.clock.advance(60)
    again = await installation.administration.rotate()
    assert not again.is_new
    assert (again.kid, again.signs_at) == (started.kid, started.signs_at)
    assert len(await installation.states()) == 2


async def test_rotate_before_the_first_start_makes_the_first_key(
    storage: SqlStorage, master_key: MasterKey, clock: FrozenClock, make_key: Callable[[int], PrivateKey]
) -> None:
    """It signs at once, as the first key of a start does."""
    administration = KeyAdministration(storage, MasterKeys(master_key), SETTINGS, clock, make_key)
    started = await administration.rotate()
    assert started.signs_at == clock.now()
    (key,) = await administration.listing()
    assert (key.record.kid, key.record.state) == (started.kid, KeyState.ACTIVE)


async def test_revoking_the_key_that_signs_replaces_it_at_once(installation: Installation) -> None:
    """It leaves the key set with the next look of each process, the feed names it, and a new key signs; its private
    part is gone."""
    first = installation.ring.signing_key().kid
    revocation = await installation.administration.revoke(first)
    await installation.ring.refresh()
    assert installation.ring.signing_key().kid == revocation.signing_kid != first
    assert set(installation.ring.key_set().by_kid) == {revocation.signing_kid}
    assert await installation.storage.read(lambda records: records.revocations.covers(RevokedKind.KEY, first))
    listing = await installation.administration.listing()
    assert [(key.record.state, key.record.sealed is None) for key in listing] == [
        (KeyState.REVOKED, True),
        (KeyState.ACTIVE, False),
    ]


async def test_revoking_the_key_that_signs_prefers_one_that_waits(installation: Installation) -> None:
    """It has been published for a while, so some verifiers know it already."""
    first = installation.ring.signing_key().kid
    started = await installation.administration.rotate()
    revocation = await installation.administration.revoke(first)
    assert revocation.signing_kid == started.kid
    assert await installation.states() == [(first, KeyState.REVOKED), (started.kid, KeyState.ACTIVE)]


async def test_revoking_a_key_that_does_not_sign_leaves_the_signer(installation: Installation) -> None:
    """A pending or a retiring key just goes."""
    first = installation.ring.signing_key().kid
    pending = await installation.administration.rotate()
    assert (await installation.administration.revoke(pending.kid)).signing_kid == first
    second = await installation.administration.rotate()
    await installation.time_passes(SETTINGS.propagation_seconds)
    assert (await installation.administration.revoke(first)).signing_kid == second.kid
    await installation.ring.refresh()
    assert set(installation.ring.key_set().by_kid) == {second.kid}


async def test_revoking_what_is_not_there_or_over_is_told_apart(installation: Installation) -> None:
    """An unknown kid and a key that came to its end are different mistakes; neither changes anything."""
    with pytest.raises(UnknownKey):
        await installation.administration.revoke("unknown")
    first = installation.ring.signing_key().kid
    await installation.administration.revoke(first)
    before = await installation.states()
    with pytest.raises(IllegalKeyMove):
        await installation.administration.revoke(first)
    assert await installation.states() == before


async def test_the_master_key_is_replaced_while_the_service_runs(
    installation: Installation, master_key: MasterKey
) -> None:
    """Old and new are readable until everything is sealed anew; then the old one can go, and does not open a thing."""
    signing_kid = installation.ring.signing_key().kid
    pending = await installation.administration.rotate()
    new = MasterKey.parse(new_master_key())

    ring, administration = installation.under(new, master_key)
    await ring.refresh()
    assert [key.sealed_currently for key in await administration.listing()] == [False, False]
    assert set(await administration.reseal()) == {signing_kid, pending.kid}
    assert [key.sealed_currently for key in await administration.listing()] == [True, True]
    assert await administration.reseal() == []

    ring, _ = installation.under(new)
    await ring.refresh()
    assert ring.signing_key().kid == signing_kid
    ring, _ = installation.under(master_key)
    with pytest.raises(MasterKeyUnusable, match=new.key_id):
        await ring.refresh()


async def test_sealing_anew_without_the_old_master_key_changes_nothing(installation: Installation) -> None:
    """All keys or none: what cannot be opened is told, and nothing is lost."""
    before = await installation.administration.listing()
    _, administration = installation.under(MasterKey.parse(new_master_key()))
    with pytest.raises(MasterKeyUnusable):
        await administration.reseal()
    assert await installation.administration.listing() == before


async def test_a_lost_master_key_is_survived_by_revoking(installation: Installation) -> None:
    """The way that the message names leads out: the key that cannot be opened is replaced, and so is one that waits to
    follow it and cannot be opened either."""
    await installation.administration.rotate()
    ring, administration = installation.under(MasterKey.parse(new_master_key()))
    with pytest.raises(MasterKeyUnusable, match="keys revoke"):
        await ring.refresh()
    unreadable = [key.record for key in await administration.listing() if key.sealed_currently is False]
    await administration.revoke(unreadable[0].kid, lost_master_key=True)
    await ring.refresh()
    ring.signing_key().sign(b"message")


@pytest.mark.parametrize("one_waits", [False, True])
async def test_a_revocation_under_another_master_key_is_refused(installation: Installation, one_waits: bool) -> None:
    """Nothing is revoked and nothing stored that the running services cannot open; they go on."""
    if one_waits:
        await installation.administration.rotate()
    before = await installation.states()
    _, administration = installation.under(MasterKey.parse(new_master_key()))
    with pytest.raises(MasterKeyUnusable, match="AUTH_MASTER_KEY"):
        await administration.revoke(installation.ring.signing_key().kid)
    assert await installation.states() == before
    await installation.ring.refresh()
    installation.ring.signing_key().sign(b"message")
    assert (await installation.storage.read(lambda records: records.revocations.head())).seq == START.seq


async def test_a_key_that_does_not_sign_is_revoked_under_any_master_key(installation: Installation) -> None:
    """No new key is stored for it, so the running services go on with the one that signs."""
    signing_kid = installation.ring.signing_key().kid
    pending = await installation.administration.rotate()
    _, administration = installation.under(MasterKey.parse(new_master_key()))
    assert (await administration.revoke(pending.kid)).signing_kid == signing_kid
    await installation.ring.refresh()
    assert set(installation.ring.key_set().by_kid) == {signing_kid}


async def test_a_key_that_was_damaged_is_revoked(installation: Installation, master_key: MasterKey) -> None:
    """Its master key is the right one, so the key that takes its place can be opened."""
    damaged = installation.ring.signing_key().kid

    def damage(records: Records) -> None:
        key = records.signing_keys.find(damaged)
        assert key is not None
        assert key.sealed is not None
        box = SealedPrivateKey(key.sealed.master_key_id, bytes(len(key.sealed.box)))
        assert records.signing_keys.replace(key, key.resealed(box))

    await installation.storage.write(damage)
    ring, administration = installation.under(master_key)
    with pytest.raises(MasterKeyUnusable, match="damaged"):
        await ring.refresh()
    await administration.revoke(damaged)
    await ring.refresh()
    ring.signing_key().sign(b"message")


async def test_a_rotation_under_another_master_key_is_refused(installation: Installation) -> None:
    """A command in a shell with the wrong master key must not store a key that the running services cannot open."""
    before = await installation.states()
    _, administration = installation.under(MasterKey.parse(new_master_key()))
    with pytest.raises(MasterKeyUnusable, match="AUTH_MASTER_KEY"):
        await administration.rotate()
    assert await installation.states() == before


async def test_the_listing_says_what_comes_next(installation: Installation) -> None:
    """For each key its state and the instant of its next change."""
    started = await installation.administration.rotate()
    active, pending = await installation.administration.listing()
    now = installation.clock.now()
    assert (active.record.state, active.next_change_at) == (KeyState.ACTIVE, now - 1 + SETTINGS.rotation_seconds)
    assert (pending.record.state, pending.next_change_at) == (KeyState.PENDING, started.signs_at)
    await installation.administration.revoke(pending.record.kid)
    assert (await installation.administration.listing())[1].next_change_at is None


@pytest.mark.parametrize("command", ["listing", "rotate", "revoke", "reseal"])
async def test_a_command_says_when_storage_failed(installation: Installation, command: str) -> None:
    """503 in a service, a message in a command; the keys stand as before."""
    before = await installation.states()
    arguments = [before[0][0]] if command == "revoke" else []
    installation.storage.broken = True
    with pytest.raises(DatabaseUnavailable):
        await getattr(installation.administration, command)(*arguments)
    installation.storage.broken = False
    assert await installation.states() == before
