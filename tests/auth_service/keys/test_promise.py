"""The promise of the rotation, over any interleaving of what processes, caches and clocks may do.

No token is signed with a key that a resource server following the cache headers could not have, and no key leaves the
key set while a token it signed is accepted. The world below runs several processes on one database, each with its own
clock; they are cut off, suspended in the middle of a transaction, restarted; operators rotate and revoke. Resource
servers read the key set from any process, through a cache that they do not know of.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from auth_service.keys.administration import KeyAdministration
from auth_service.keys.key_ring import ActiveKey, KeyRing, SigningKeysUnavailable
from auth_service.keys.private_key import PrivateKey
from auth_service.keys.schedule import KeySettings
from auth_service.keys.sealing import MasterKey, MasterKeys, new_master_key
from auth_service.model.signing_key import PUBLISHED_STATES, KeyState
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.transactions import DatabaseUnavailable
from tests.auth_service.keys.conftest import made_keys, migrated_database

T = TypeVar("T")

SETTINGS = replace(KeySettings(), rotation_seconds=7_200)
PROCESSES = 3
STALENESS = 2 * SETTINGS.max_age_seconds
"""How old a resource server's copy can get: the max-age in a shared cache, and once more in a verifier that does not
look at `Age`."""
ACCEPTED = SETTINGS.token_seconds + SETTINGS.leeway_seconds + SETTINGS.clock_difference_seconds
"""How long a token is accepted after it was signed, where the verifier's clock is behind the signer's."""
STEPS = st.sampled_from([1, 30, 60, 240, 300, 600, 900, 960, 1_110, 6_240])
"""The waits themselves and what they are made of."""
SUSPENSIONS: st.SearchStrategy[list[float]] = st.just([]) | st.lists(STEPS, min_size=1, max_size=3)
SKEWS = st.sampled_from([-30.0, -29.0, 0.0, 11.0, 30.0])
"""Clocks differ from true time by half of what two of them may differ by."""
ANY_PROCESS = st.integers(0, PROCESSES - 1)


class TrueTime:
    """What all clocks of the world are compared with."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0


class SkewedClock:
    """One machine's clock: wrong by a constant, and with a monotonic reading that starts anywhere."""

    def __init__(self, time: TrueTime, skew: float) -> None:
        self._time = time
        self.skew = skew

    def now(self) -> float:
        return self._time.seconds + self.skew

    def monotonic(self) -> float:
        return self._time.seconds - 1_799_000_000.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("the world decides when a process looks")


Suspension = Callable[[], Coroutine[Any, Any, None]]


class Link:
    """A process's way to the database: it may be cut, and time may pass in the middle of what it carries."""

    def __init__(self, storage: SqlStorage) -> None:
        self._storage = storage
        self.is_cut = False
        self.before_commit: Suspension | None = None
        self.after_read: Suspension | None = None

    async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
        self._check()
        result = await self._storage.read(work, vital=vital)
        if self.after_read is not None:
            suspend, self.after_read = self.after_read, None
            await suspend()
        return result

    async def write(self, work: Callable[[Records], T], *, durable: bool = True) -> T:
        self._check()
        loop = asyncio.get_running_loop()

        def suspended(records: Records) -> T:
            result = work(records)
            if self.before_commit is not None:
                suspend, self.before_commit = self.before_commit, None
                asyncio.run_coroutine_threadsafe(suspend(), loop).result()
            return result

        return await self._storage.write(suspended, durable=durable)

    def _check(self) -> None:
        if self.is_cut:
            raise DatabaseUnavailable("The database is not available.")


@dataclass
class Process:
    clock: SkewedClock
    link: Link
    ring: KeyRing
    held: ActiveKey | None = None


class World(RuleBasedStateMachine):
    """Several processes, one database, one true time."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()
        self._stack.callback(self._loop.close)
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "auth.sqlite3"
        path.write_bytes(migrated_database())
        self._database = Database.open(f"sqlite:///{path}")
        self._stack.callback(lambda: self._run(self._database.close()))
        self._storage = SqlStorage(self._database)
        self._master_keys = MasterKeys(MasterKey.parse(new_master_key()))
        self._time = TrueTime()
        self._processes: list[Process] = []
        self._made = 0
        self._stored: dict[str, KeyState] = {}
        self._copies: dict[frozenset[str], float] = {}
        """Until when some resource server may go by a copy of the key set with these kids."""
        self._accepted_until: dict[str, float] = {}
        """Until when some token signed with this key is accepted."""
        self._revoked: dict[str, float] = {}
        self._emergency: dict[str, float] = {}

    def teardown(self) -> None:
        """Whatever happened: once every process reaches the database again, each can sign and publish."""
        try:
            for process in self._processes:
                process.link.is_cut = False
                self._run(process.ring.refresh())
            for process in self._processes:
                process.ring.signing_key().sign(b"message")
                process.ring.key_set()
        finally:
            self._stack.close()

    # What happens in the world.

    @initialize(skews=st.tuples(*[SKEWS] * PROCESSES))
    def start(self, skews: tuple[float, ...]) -> None:
        for skew in skews:
            link = Link(self._storage)
            clock = SkewedClock(self._time, skew)
            self._processes.append(Process(clock, link, self._new_ring(link, clock)))
        for process in self._processes:
            self._refresh(process)

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self._time.seconds += seconds

    @rule(seconds=STEPS, order=st.permutations(range(PROCESSES)))
    def time_passes_and_all_processes_look(self, seconds: float, order: list[int]) -> None:
        self._time.seconds += seconds
        for number in order:
            self._refresh(self._processes[number])

    @rule(number=ANY_PROCESS)
    def a_process_looks(self, number: int) -> None:
        self._refresh(self._processes[number])

    @rule(number=ANY_PROCESS, suspension=SUSPENSIONS)
    def a_process_is_suspended_before_it_commits(self, number: int, suspension: list[float]) -> None:
        process = self._processes[number]
        process.link.before_commit = self._others_read_while(suspension, process)
        self._refresh(process)
        process.link.before_commit = None

    @rule(number=ANY_PROCESS, suspension=SUSPENSIONS)
    def a_process_is_suspended_after_it_read(self, number: int, suspension: list[float]) -> None:
        process = self._processes[number]

        async def others_go_on() -> None:
            for seconds in suspension:
                self._time.seconds += seconds
                for other in self._processes:
                    if other is not process and not other.link.is_cut:
                        await other.ring.refresh()
                self.the_promise_is_kept()

        process.link.after_read = others_go_on
        self._refresh(process)
        process.link.after_read = None

    @rule(number=ANY_PROCESS)
    def a_process_is_cut_off_or_comes_back(self, number: int) -> None:
        link = self._processes[number].link
        link.is_cut = not link.is_cut

    @rule(number=ANY_PROCESS, skew=SKEWS)
    def a_process_restarts_perhaps_elsewhere(self, number: int, skew: float) -> None:
        process = self._processes[number]
        process.clock = SkewedClock(self._time, skew)
        process.ring = self._new_ring(process.link, process.clock)
        process.held = None
        self._refresh(process)

    @rule(skew=SKEWS, suspension=SUSPENSIONS)
    def an_operator_rotates(self, skew: float, suspension: list[float]) -> None:
        link = Link(self._storage)
        link.before_commit = self._others_read_while(suspension)
        self._run(self._administration(link, skew).rotate())
        self._note_stored()

    # What must hold.

    @invariant()
    def the_database_has_one_key_that_signs(self) -> None:
        states = [state for state in self._stored.values() if state in (KeyState.PENDING, KeyState.ACTIVE)]
        if self._processes:
            assert states.count(KeyState.ACTIVE) == 1
            assert states.count(KeyState.PENDING) <= 1

    @invariant()
    def the_promise_is_kept(self) -> None:
        """Resource servers read from every process and every process signs, at every instant that the world visits."""
        for process in self._processes:
            self._fetch_from(process)
        for process in self._processes:
            self._sign_with(process)

    def _sign_with(self, process: Process) -> None:
        now = self._time.seconds
        keys = [process.held]
        with contextlib.suppress(SigningKeysUnavailable):
            process.held = process.ring.signing_key()
            keys.append(process.held)
        for key in keys:
            with contextlib.suppress(SigningKeysUnavailable):
                if key is not None:
                    key.sign(b"message")
                    self._check_signature(key.kid, now)

    def _check_signature(self, kid: str, now: float) -> None:
        # A key that had to sign at once keeps the promise from when the last copy made without it is too old.
        settled = now > self._emergency.get(kid, -math.inf) + SETTINGS.key_set_lease_seconds + STALENESS
        if kid in self._revoked:
            assert now <= self._revoked[kid] + SETTINGS.signing_lease_seconds, "signed with a revoked key"
        elif settled:
            for kids, until in self._copies.items():
                assert until <= now or kid in kids, "a resource server cannot have this key"
        self._accepted_until[kid] = now + ACCEPTED

    def _fetch_from(self, process: Process) -> None:
        now = self._time.seconds
        try:
            kids = frozenset(process.ring.key_set().by_kid)
        except SigningKeysUnavailable:
            return
        for kid, accepted_until in self._accepted_until.items():
            settled = now > self._emergency.get(kid, -math.inf) + SETTINGS.key_set_lease_seconds
            if accepted_until > now and kid not in self._revoked and settled:
                assert kid in kids, "the key of a token that is still accepted is gone"
        for kid, revoked_at in self._revoked.items():
            assert kid not in kids or now <= revoked_at + SETTINGS.key_set_lease_seconds, "a revoked key is published"
        self._copies[kids] = now + STALENESS

    # How it is done.

    def _refresh(self, process: Process) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            self._run(process.ring.refresh())
        self._note_stored()

    def _note_stored(self) -> None:
        keys = self._run(self._storage.read(lambda records: records.signing_keys.all()))
        self._stored = {key.kid: key.state for key in keys}

    def _new_ring(self, link: Link, clock: SkewedClock) -> KeyRing:
        return KeyRing(link, self._master_keys, SETTINGS, clock, self._make_key)

    def _others_read_while(self, suspension: list[float], suspended: Process | None = None) -> Suspension:
        """What happens around a transaction that stands still: nobody else can write, but everybody can read."""

        async def others_read() -> None:
            for seconds in suspension:
                self._time.seconds += seconds
                for other in self._processes:
                    if other is not suspended and not other.link.is_cut:
                        await other.ring._adopt()
                self.the_promise_is_kept()

        return others_read

    def _administration(self, link: Link, skew: float) -> KeyAdministration:
        clock = SkewedClock(self._time, skew)
        return KeyAdministration(link, self._master_keys, SETTINGS, clock, self._make_key)

    def _make_key(self, bits: int) -> PrivateKey:
        """One that this world has not seen yet, whether or not the one before it was stored."""
        keys = made_keys()
        if self._made == len(keys):
            # Kept, so that the same example meets the same key when it is played again.
            keys.append(PrivateKey.generate(bits))
        self._made += 1
        return keys[self._made - 1]

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)


class EmergencyWorld(World):
    """The same, where keys are revoked too: the promise rests until the copies made before are too old."""

    @precondition(lambda self: self._stored)
    @rule(data=st.data(), skew=SKEWS)
    def an_operator_revokes(self, data: st.DataObject, skew: float) -> None:
        live = sorted(kid for kid, state in self._stored.items() if state in PUBLISHED_STATES)
        kid = data.draw(st.sampled_from(live))
        was_active = self._stored[kid] is KeyState.ACTIVE
        revocation = self._run(self._administration(Link(self._storage), skew).revoke(kid))
        self._revoked[kid] = self._time.seconds
        if was_active:
            self._emergency.setdefault(revocation.signing_kid, self._time.seconds)
        self._note_stored()


QUICK = settings(
    max_examples=10,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TestPromise = World.TestCase
TestPromise.settings = QUICK
TestEmergency = EmergencyWorld.TestCase
TestEmergency.settings = QUICK


@contextlib.contextmanager
def world_with(*skews: float) -> Iterator[World]:
    """A world that a test moves by hand."""
    world = World()
    try:
        world.start(skews)
        yield world
    finally:
        world.teardown()


def pass_time(world: World, seconds: float, *looking: int) -> None:
    """Let time pass, then let some processes look; the promise is checked before and after."""
    world.time_passes(seconds)
    world.the_promise_is_kept()
    for number in looking:
        world.a_process_looks(number)
    world.the_promise_is_kept()
    world.the_database_has_one_key_that_signs()


def signing(world: World, number: int) -> str:
    return world._processes[number].ring.signing_key().kid


def test_a_new_key_does_not_wait_longer_than_it_must() -> None:
    """The worst case to the second: a process cut off just before the new key was stored hands its old key set out
    until its lease ends, caches keep that twice over, and the clocks that measure the wait differ by all they may."""
    behind, ahead, cut = 0, 1, 2
    with world_with(-30, 30, 0) as world:
        world.a_process_is_cut_off_or_comes_back(cut)
        world.an_operator_rotates(-30, [])
        first = signing(world, behind)
        pass_time(world, SETTINGS.key_set_lease_seconds)
        pass_time(world, STALENESS - 1, behind, ahead)
        assert signing(world, ahead) == first
        pass_time(world, 1, ahead)
        assert signing(world, ahead) != first


def test_a_writer_that_stands_still_does_not_shorten_the_wait() -> None:
    """The wait begins when the new key was seen stored, however long the transaction took that stored it."""
    with world_with(0, 0, 0) as world:
        first = signing(world, 0)
        world.an_operator_rotates(0, [SETTINGS.propagation_seconds])
        pass_time(world, 0, 0, 1, 2)
        pass_time(world, SETTINGS.propagation_seconds - 1, 0, 1, 2)
        assert signing(world, 0) == first
        pass_time(world, 1, 0, 1, 2)
        assert signing(world, 0) != first


def test_an_old_key_does_not_stay_longer_than_it_must() -> None:
    """The worst case to the second: a process cut off just before the new key took over signs until its lease ends,
    its token lives as long as any may, on a verifier whose clock is behind, and the clocks that measure the wait
    differ by all they may."""
    behind, ahead, cut = 0, 1, 2
    with world_with(-30, 30, 0) as world:
        world.an_operator_rotates(-30, [])
        first = signing(world, behind)
        pass_time(world, SETTINGS.propagation_seconds - SETTINGS.clock_difference_seconds, cut)
        world.a_process_is_cut_off_or_comes_back(cut)
        pass_time(world, 0, ahead, behind)
        pass_time(world, SETTINGS.signing_lease_seconds)
        assert signing(world, cut) == first
        pass_time(world, ACCEPTED - 1, behind, ahead)
        assert first in world._processes[ahead].ring.key_set().by_kid
        pass_time(world, 1, ahead)
        assert first not in world._processes[ahead].ring.key_set().by_kid


@pytest.mark.slow
@pytest.mark.parametrize("world", [World, EmergencyWorld])
def test_the_promise_at_length(world: type[World]) -> None:
    """The same worlds, visited longer."""
    run_state_machine_as_test(world, settings=settings(QUICK, max_examples=50, stateful_step_count=60))
