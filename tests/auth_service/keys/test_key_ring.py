"""What a process signs with and publishes, on the real storage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from auth_service.keys.key_ring import KeyRing, SigningKeysUnavailable, open_key_ring
from auth_service.keys.private_key import PrivateKey
from auth_service.keys.schedule import KeySettings
from auth_service.keys.sealing import MasterKey, MasterKeys, MasterKeyUnusable, new_master_key
from auth_service.model.signing_key import KeyState, SigningKeyRecord
from auth_service.model.storage import Records, Storage
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import signing_keys
from shared.clock import SystemClock
from shared.database import Database
from shared.transactions import DatabaseUnavailable
from tests.auth_service.keys.conftest import BreakableStorage, migrated_database
from tests.clock import FrozenClock

SETTINGS = KeySettings()
MakeKey = Callable[[int], PrivateKey]
T = TypeVar("T")


@pytest.fixture
def ring(storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey) -> KeyRing:
    """A ring that has read nothing yet and that only the test refreshes."""
    return KeyRing(storage, master_keys, SETTINGS, clock, make_key)


async def states(storage: Storage) -> list[tuple[str, KeyState]]:
    keys: Sequence[SigningKeyRecord] = await storage.read(lambda records: records.signing_keys.all())
    return [(key.kid, key.state) for key in keys]


def published(ring: KeyRing) -> list[str]:
    return [key["kid"] for key in json.loads(ring.key_set().body)["keys"]]


async def test_the_first_start_makes_a_key_that_signs_at_once(ring: KeyRing, storage: SqlStorage) -> None:
    """One key, active, published, and its signatures verify under what is published."""
    await ring.refresh()
    signing_key = ring.signing_key()
    assert await states(storage) == [(signing_key.kid, KeyState.ACTIVE)]
    assert published(ring) == [signing_key.kid]
    assert ring.key_set().by_kid[signing_key.kid].verify(signing_key.sign(b"message"), b"message")


async def test_a_restart_and_a_second_process_sign_with_the_same_key(
    ring: KeyRing, storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock
) -> None:
    """The key is kept, not made anew: old tokens still verify."""
    await ring.refresh()
    for _ in range(2):
        async with open_key_ring(storage, master_keys, SETTINGS, clock) as another:
            assert another.signing_key().kid == ring.signing_key().kid
            assert another.key_set() == ring.key_set()


async def test_of_first_starts_at_the_same_time_one_wins(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, supply: list[PrivateKey]
) -> None:
    """All have made a key before any is stored; one is, and the others adopt it."""
    together = threading.Barrier(4)

    def starting(own: PrivateKey) -> MakeKey:
        def make(_bits: int) -> PrivateKey:
            together.wait(timeout=10)
            return own

        return make

    rings = [KeyRing(storage, master_keys, SETTINGS, clock, starting(supply[n])) for n in range(4)]
    await asyncio.gather(*(each.refresh() for each in rings))
    ((kid, state),) = await states(storage)
    assert state is KeyState.ACTIVE
    assert {each.signing_key().kid for each in rings} == {kid}
    assert {each.key_set().body for each in rings} == {rings[0].key_set().body}


async def test_a_key_is_made_off_the_loop_and_outside_any_transaction(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, supply: list[PrivateKey]
) -> None:
    """Making a key takes up to a second: neither requests nor other writers wait for it."""
    loop = asyncio.get_running_loop()
    threads: list[threading.Thread] = []

    def make(_bits: int) -> PrivateKey:
        threads.append(threading.current_thread())
        # Would wait for the writer's place if the transaction were open already.
        writing = asyncio.run_coroutine_threadsafe(storage.write(lambda records: records.signing_keys.lock()), loop)
        writing.result(timeout=2)
        return supply[0]

    await KeyRing(storage, master_keys, SETTINGS, clock, make).refresh()
    assert threads
    assert threading.main_thread() not in threads


async def test_of_rotations_at_the_same_time_one_is_made(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """Every process finds each step due at the same instant; each step is taken once, and all end with the same."""
    rings = [KeyRing(storage, master_keys, SETTINGS, clock, make_key) for _ in range(4)]

    async def all_look() -> list[KeyState]:
        await asyncio.gather(*(each.refresh() for each in rings))
        await asyncio.gather(*(each.refresh() for each in rings))
        assert len({each.signing_key().kid for each in rings}) == 1
        assert len({each.key_set().etag for each in rings}) == 1
        return [state for _, state in await states(storage)]

    assert await all_look() == [KeyState.ACTIVE]
    clock.advance(SETTINGS.rotation_seconds - SETTINGS.propagation_seconds)
    assert await all_look() == [KeyState.ACTIVE, KeyState.PENDING]
    clock.advance(SETTINGS.propagation_seconds)
    assert await all_look() == [KeyState.RETIRING, KeyState.ACTIVE]
    clock.advance(SETTINGS.retention_seconds)
    assert await all_look() == [KeyState.RETIRED, KeyState.ACTIVE]


@pytest.mark.parametrize("works_for", range(6))
async def test_a_rotation_that_storage_interrupts_goes_on_later(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey, works_for: int
) -> None:
    """Whichever transaction fails, the ring keeps what it had, and the next look takes the rotation up again."""
    breakable = BreakableStorage(storage)
    ring = KeyRing(breakable, master_keys, SETTINGS, clock, make_key)
    await ring.refresh()
    await ring.refresh()
    first = ring.signing_key().kid
    for wait in (SETTINGS.rotation_seconds - SETTINGS.propagation_seconds, SETTINGS.propagation_seconds):
        clock.advance(wait)
        breakable.works_for = works_for
        with contextlib.suppress(DatabaseUnavailable):
            await ring.refresh()
            await ring.refresh()
        breakable.works_for, breakable.broken = None, False
        if wait != SETTINGS.propagation_seconds:
            await ring.refresh()
            await ring.refresh()
            assert ring.signing_key().kid == first
    await ring.refresh()
    ((old, old_state), (new, new_state)) = await states(storage)
    assert (old, old_state, new_state) == (first, KeyState.RETIRING, KeyState.ACTIVE)
    assert ring.signing_key().kid == new


async def test_what_keys_do_is_told_in_the_log(ring: KeyRing, storage: SqlStorage, clock: FrozenClock) -> None:
    """Each step is one event of the audit trail and one line with the kid, once it is committed, and no secret."""
    with capture_logs() as logs:
        await ring.refresh()
        await ring.refresh()
        clock.advance(SETTINGS.rotation_seconds)
        await ring.refresh()
        await ring.refresh()
        clock.advance(SETTINGS.propagation_seconds)
        await ring.refresh()
    first, second = (kid for kid, _ in await states(storage))
    done = {"outcome": "done", "actor": "schedule"}
    expected = [
        {"event": "signing_key_introduced", "kid": first, "state": "active", "key_bits": "2048", **done},
        {"event": "signing_key_introduced", "kid": second, "state": "pending", "key_bits": "2048", **done},
        {"event": "signing_key_moved", "kid": first, "former_state": "active", "state": "retiring", **done},
        {"event": "signing_key_moved", "kid": second, "former_state": "pending", "state": "active", **done},
    ]
    assert [{name: value for name, value in entry.items() if name != "log_level"} for entry in logs] == expected
    events = await storage.read(lambda records: records.security_events.newest(limit=10))
    kept = [{"event": str(event.kind), **event.detail, **done} for event in events]
    assert all(entry in kept for entry in expected)
    assert len(kept) == len(expected)


def _start_once(database_url: str, master_key_file: Path, results: multiprocessing.Queue[str]) -> None:
    async def start() -> str:
        database = Database.open(database_url)
        master_keys = MasterKeys(MasterKey.load_or_create(master_key_file))
        async with open_key_ring(SqlStorage(database), master_keys, SETTINGS, SystemClock()) as ring:
            kid = ring.signing_key().kid
        await database.close()
        return kid

    results.put(asyncio.run(start()))


@pytest.mark.slow
async def test_real_processes_that_start_together_sign_with_one_key(database: Database, tmp_path: Path) -> None:
    """An empty database, no master key file, four processes: one key of each."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    arguments = (database.engine.url.render_as_string(hide_password=False), tmp_path / "master.key", results)
    starters = [context.Process(target=_start_once, args=arguments) for _ in range(4)]
    for starter in starters:
        starter.start()
    kids = {await asyncio.to_thread(results.get, timeout=60) for _ in starters}
    for starter in starters:
        await asyncio.to_thread(starter.join, 30)
    assert [(kid, KeyState.ACTIVE) for kid in kids] == await states(SqlStorage(database))


async def test_rotation_goes_by_itself(ring: KeyRing, storage: SqlStorage, clock: FrozenClock) -> None:
    """Published first, signing later, published still, gone at last: each at its time and not before."""
    await ring.refresh()
    await ring.refresh()
    first = ring.signing_key().kid
    clock.advance(SETTINGS.rotation_seconds - SETTINGS.propagation_seconds - 1)
    await ring.refresh()
    assert published(ring) == [first]

    clock.advance(1)
    await ring.refresh()
    second = published(ring)[-1]
    assert published(ring) == [first, second]
    assert ring.signing_key().kid == first
    await ring.refresh()

    clock.advance(SETTINGS.propagation_seconds - 1)
    await ring.refresh()
    assert ring.signing_key().kid == first
    clock.advance(1)
    etag = ring.key_set().etag
    await ring.refresh()
    assert ring.signing_key().kid == second
    assert published(ring) == [first, second]
    assert ring.key_set().etag == etag
    await ring.refresh()

    clock.advance(SETTINGS.retention_seconds - 1)
    await ring.refresh()
    assert published(ring) == [first, second]
    clock.advance(1)
    await ring.refresh()
    assert published(ring) == [second]
    assert ring.key_set().etag != etag
    assert await states(storage) == [(first, KeyState.RETIRED), (second, KeyState.ACTIVE)]


async def test_a_service_that_was_off_for_long_signs_with_its_key_and_then_rotates(
    ring: KeyRing, clock: FrozenClock
) -> None:
    """An overdue rotation does not skip the new key's wait."""
    await ring.refresh()
    await ring.refresh()
    first = ring.signing_key().kid
    clock.advance(3 * SETTINGS.rotation_seconds)
    await ring.refresh()
    assert ring.signing_key().kid == first
    assert len(published(ring)) == 2
    await ring.refresh()
    clock.advance(SETTINGS.propagation_seconds)
    await ring.refresh()
    assert ring.signing_key().kid == published(ring)[1]


async def test_the_size_of_the_next_key_follows_the_setting(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock
) -> None:
    """3072 bits where the setting says so."""
    settings = replace(SETTINGS, key_bits=3072)
    async with open_key_ring(storage, master_keys, settings, clock):
        (key,) = await storage.read(lambda records: records.signing_keys.all())
    assert key.key_bits == 3072
    assert json.loads(key.public_jwk)["kid"] == key.kid


async def test_the_key_set_holds_public_members_only(ring: KeyRing) -> None:
    """No private member is ever published (RFC 7518 section 6.3.2); the ETag is a strong one."""
    await ring.refresh()
    document = ring.key_set()
    (key,) = json.loads(document.body)["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert document.etag.startswith('"')
    assert document.etag.endswith('"')


async def test_two_fresh_installs_have_different_keys(tmp_path: Path, clock: FrozenClock) -> None:
    """No key ships with the project (CVE-2026-44523)."""
    kids: set[str] = set()
    for install in ("one", "two"):
        folder = tmp_path / install
        folder.mkdir(0o700)
        (folder / "auth.sqlite3").write_bytes(await asyncio.to_thread(migrated_database))
        database = Database.open(f"sqlite:///{folder}/auth.sqlite3")
        master_keys = MasterKeys(MasterKey.load_or_create(folder / "master.key"))
        async with open_key_ring(SqlStorage(database), master_keys, SETTINGS, clock) as ring:
            kids.add(ring.signing_key().kid)
        await database.close()
    assert len(kids) == 2


async def test_a_dump_holds_no_private_key(
    tmp_path: Path, master_keys: MasterKeys, clock: FrozenClock, supply: list[PrivateKey]
) -> None:
    """Neither the DER of a key nor one of its primes stands in the database's files (CVE-2024-56362)."""
    (tmp_path / "auth.sqlite3").write_bytes(await asyncio.to_thread(migrated_database))
    database = Database.open(f"sqlite:///{tmp_path}/auth.sqlite3")
    async with open_key_ring(SqlStorage(database), master_keys, SETTINGS, clock, lambda _bits: supply[0]):
        dump = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    await database.close()
    numbers = supply[0]._key.private_numbers()
    assert supply[0].public.kid.encode() in dump
    for secret in (numbers.p, numbers.q, numbers.d):
        assert secret.to_bytes((secret.bit_length() + 7) // 8, "big") not in dump
    assert supply[0].to_pkcs8() not in dump


async def test_signing_stops_when_the_keys_could_not_be_read_for_the_lease(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """A process that is cut off cannot know whether its key was replaced: 503 after the lease, also for a key that
    was handed out before; it recovers with the first refresh."""
    breakable = BreakableStorage(storage)
    ring = KeyRing(breakable, master_keys, SETTINGS, clock, make_key)
    await ring.refresh()
    held = ring.signing_key()
    breakable.broken = True
    clock.advance(SETTINGS.signing_lease_seconds)
    ring.signing_key().sign(b"message")
    assert (await ring.report())[0]
    clock.advance(0.001)
    with pytest.raises(SigningKeysUnavailable) as refused:
        ring.signing_key()
    assert refused.value.status == 503
    assert "Retry-After" in refused.value.headers
    with pytest.raises(SigningKeysUnavailable):
        held.sign(b"message")
    assert not (await ring.report())[0]
    breakable.broken = False
    await ring.refresh()
    ring.signing_key().sign(b"message")


async def test_a_lease_counts_from_before_the_keys_were_read(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """What was read a while ago is old, however late the answer came."""

    class SlowStorage(BreakableStorage):
        async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
            result = await super().read(work, vital=vital)
            clock.advance(SETTINGS.signing_lease_seconds + 0.001)
            return result

    ring = KeyRing(SlowStorage(storage), master_keys, SETTINGS, clock, make_key)
    await ring.refresh()
    with pytest.raises(SigningKeysUnavailable):
        ring.signing_key()


async def test_publishing_goes_on_longer_than_signing_and_stops_too(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """A key set that may lack a newer key is not handed out for ever; whoever has one keeps it."""
    breakable = BreakableStorage(storage)
    ring = KeyRing(breakable, master_keys, SETTINGS, clock, make_key)
    await ring.refresh()
    breakable.broken = True
    clock.advance(SETTINGS.key_set_lease_seconds)
    assert published(ring)
    clock.advance(0.001)
    with pytest.raises(SigningKeysUnavailable):
        ring.key_set()


async def test_a_machine_that_slept_does_not_sign_before_it_has_looked(ring: KeyRing, clock: FrozenClock) -> None:
    """The monotonic clock stands still in a suspended machine; the wall clock tells."""
    await ring.refresh()
    clock.skew(3600)
    with pytest.raises(SigningKeysUnavailable):
        ring.signing_key()
    await ring.refresh()
    ring.signing_key().sign(b"message")


async def test_a_clock_set_back_does_not_lengthen_a_lease(ring: KeyRing, clock: FrozenClock) -> None:
    """The lease runs on the monotonic clock whatever the wall clock does."""
    await ring.refresh()
    clock.skew(-3600)
    clock.advance(SETTINGS.signing_lease_seconds + 0.001)
    with pytest.raises(SigningKeysUnavailable):
        ring.signing_key()


async def test_nothing_is_signed_or_published_before_the_first_look(ring: KeyRing) -> None:
    """Not ready until the keys were read once."""
    with pytest.raises(SigningKeysUnavailable):
        ring.signing_key()
    with pytest.raises(SigningKeysUnavailable):
        ring.key_set()
    assert await ring.report() == (False, {})


async def test_a_wrong_master_key_stops_the_start(
    ring: KeyRing, storage: SqlStorage, clock: FrozenClock, make_key: MakeKey
) -> None:
    """The message says what to do, and no second key is made beside the one that cannot be opened."""
    await ring.refresh()
    wrong = MasterKeys(MasterKey.parse(new_master_key()))
    with pytest.raises(MasterKeyUnusable, match="AUTH_MASTER_KEY"):
        async with open_key_ring(storage, wrong, SETTINGS, clock, make_key):
            pytest.fail("it must not open")
    assert len(await states(storage)) == 1


@pytest.mark.parametrize("claims_our_master_key", [False, True])
async def test_a_key_slipped_into_the_table_is_not_published(
    ring: KeyRing, storage: SqlStorage, supply: list[PrivateKey], claims_our_master_key: bool
) -> None:
    """Who can write to the table but lacks the master key cannot have his public key published."""
    await ring.refresh()
    (own,) = await storage.read(lambda records: records.signing_keys.all())
    assert own.sealed is not None
    foreign_key = supply[-1]
    sealed = MasterKey.parse(new_master_key()).seal(foreign_key.public.kid, foreign_key.to_pkcs8())
    if claims_our_master_key:
        sealed = replace(sealed, master_key_id=own.sealed.master_key_id)
    slipped = replace(own, kid=foreign_key.public.kid, state=KeyState.RETIRING, sealed=sealed)
    assert await storage.write(lambda records: records.signing_keys.add(slipped))
    with pytest.raises(MasterKeyUnusable, match=foreign_key.public.kid):
        await ring.refresh()
    assert published(ring) == [own.kid]


async def test_a_key_under_another_name_is_not_used(
    ring: KeyRing, storage: SqlStorage, master_keys: MasterKeys, supply: list[PrivateKey]
) -> None:
    """A kid that is not the key's own thumbprint is an error, whoever sealed it."""
    await ring.refresh()
    (own,) = await storage.read(lambda records: records.signing_keys.all())
    misnamed = replace(
        own, kid="misnamed", state=KeyState.RETIRING, sealed=master_keys.seal("misnamed", supply[-1].to_pkcs8())
    )
    assert await storage.write(lambda records: records.signing_keys.add(misnamed))
    with pytest.raises(MasterKeyUnusable, match="not the one it says it is"):
        await ring.refresh()


async def test_a_key_of_a_newer_release_is_told(ring: KeyRing, storage: SqlStorage) -> None:
    """An algorithm that this release does not know stops it with a message instead of a wrong key set."""
    await ring.refresh()
    (own,) = await storage.read(lambda records: records.signing_keys.all())
    newer = replace(own, kid="newer", state=KeyState.PENDING, algorithm="ML-DSA-44")
    assert await storage.write(lambda records: records.signing_keys.add(newer))
    with pytest.raises(MasterKeyUnusable, match="this release"):
        await ring.refresh()


async def test_what_is_published_is_the_key_that_was_sealed(
    ring: KeyRing,
    storage: SqlStorage,
    database: Database,
    master_keys: MasterKeys,
    clock: FrozenClock,
    supply: list[PrivateKey],
) -> None:
    """A public key altered in its row changes nothing: the published one comes out of the box."""
    await ring.refresh()
    altered = json.dumps(supply[-1].public.as_json_object())
    await database.write(lambda connection: connection.execute(signing_keys.update().values(public_jwk=altered)))
    async with open_key_ring(storage, master_keys, SETTINGS, clock) as another:
        assert another.key_set() == ring.key_set()


async def test_the_ring_follows_the_database_by_itself(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """A revocation by another process arrives within the refresh interval, also after failures, which are logged."""
    breakable = BreakableStorage(storage)
    async with open_key_ring(breakable, master_keys, SETTINGS, clock, make_key) as ring:
        first = ring.signing_key().kid

        def replace_key(records: Records) -> None:
            (key,) = records.signing_keys.published()
            assert records.signing_keys.replace(key, key.revoked(clock.now()))

        await storage.write(replace_key)
        breakable.broken = True
        with capture_logs() as logs:
            await tick(clock)
        assert [entry["event"] for entry in logs] == ["signing_keys_not_refreshed"]
        assert ring.signing_key().kid == first
        breakable.broken = False
        await tick(clock)
        assert ring.signing_key().kid != first
        assert published(ring) == [ring.signing_key().kid]


async def test_following_survives_a_key_it_cannot_open(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """A key sealed under a master key this process lacks is told in the log, and the ring goes on with what it has."""
    async with open_key_ring(storage, master_keys, SETTINGS, clock, make_key) as ring:
        kid = ring.signing_key().kid
        foreign = MasterKey.parse(new_master_key())

        def seal_elsewhere(records: Records) -> None:
            (key,) = records.signing_keys.published()
            assert records.signing_keys.replace(key, key.superseded(clock.now()))
            other = make_key(2048)
            stored = replace(key, kid=other.public.kid, sealed=foreign.seal(other.public.kid, other.to_pkcs8()))
            assert records.signing_keys.add(stored)

        await storage.write(seal_elsewhere)
        with capture_logs() as logs:
            await tick(clock)
        (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
        assert entry["event"] == "signing_keys_unusable"
        assert foreign.key_id in entry["cause"]
        assert ring.signing_key().kid == kid
        clock.advance(SETTINGS.signing_lease_seconds + 1)
        with pytest.raises(SigningKeysUnavailable):
            ring.signing_key()


async def test_following_ends_with_the_block(
    storage: SqlStorage, master_keys: MasterKeys, clock: FrozenClock, make_key: MakeKey
) -> None:
    """No task is left behind."""
    before = asyncio.all_tasks()
    async with open_key_ring(storage, master_keys, SETTINGS, clock, make_key):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before


async def tick(clock: FrozenClock) -> None:
    """Let the background task sleep, wake it, and let it finish one refresh."""
    await asyncio.sleep(0)
    clock.advance(SETTINGS.refresh_seconds)
    sleepers = clock._sleepers
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0.005)
            if sleepers:
                return
