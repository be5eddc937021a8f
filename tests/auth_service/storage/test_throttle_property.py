"""The promise of the budgets, over any history: no more failures than they allow and no fewer, but for the moments in
which a rightful attempt and others were under way together (`TakenUnit.refund_at`)."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from auth_service.model.throttle import HOUR_SECONDS, BudgetKind, BudgetSpent, Charge, TakenUnit
from auth_service.storage.storage import MIGRATIONS
from auth_service.storage.throttle import SqlBudgets
from shared.database import Database
from shared.migrations import migrate
from tests.auth_service.stored import NOW

NAMES, ADDRESSES = ("alice", "bob"), ("192.0.2.1", "192.0.2.2", "192.0.2.3")
LIMITS = {BudgetKind.CALLER: 3, BudgetKind.ACCOUNT: 5, BudgetKind.ADDRESS: 6, BudgetKind.SERVICE: 8}
HASHING_SECONDS = 600
"""How long an attempt may go on: longer than some units take to come back."""
TOLERANCE = Fraction(1, 10)
"""Seconds, for sums of instants in double precision."""


def charges_of(name: str, address: str) -> list[Charge]:
    """The charges of a stranger's sign-in."""
    return [
        Charge.of(BudgetKind.CALLER, LIMITS[BudgetKind.CALLER], name, address),
        Charge.of(BudgetKind.ACCOUNT, LIMITS[BudgetKind.ACCOUNT], name),
        Charge.of(BudgetKind.ADDRESS, LIMITS[BudgetKind.ADDRESS], address),
        Charge.of(BudgetKind.SERVICE, LIMITS[BudgetKind.SERVICE]),
    ]


@dataclass(eq=False)
class Attempt:
    """One that was let through, and when it was refunded: until then it counts."""

    units: Sequence[TakenUnit]
    at: Fraction
    refunded_at: Fraction | None = None

    @property
    def counts(self) -> bool:
        return self.refunded_at is None

    @property
    def charges(self) -> list[Charge]:
        return [unit.charge for unit in self.units]


@dataclass
class History:
    """What the budgets are held against: every attempt that was let through, by budget."""

    attempts: dict[bytes, list[Attempt]] = field(default_factory=dict)
    withheld: dict[bytes, Fraction] = field(default_factory=dict)
    """Seconds by which a budget may be behind, for what was refunded while another attempt had come after it."""
    given: dict[bytes, Fraction] = field(default_factory=dict)
    """Seconds by which it may be ahead: as `withheld`, where one that came before it had been refunded meanwhile."""

    def add(self, attempt: Attempt) -> None:
        for charge in attempt.charges:
            self.attempts.setdefault(charge.key, []).append(attempt)

    def refund(self, attempt: Attempt, now: Fraction) -> None:
        attempt.refunded_at = now
        for charge in attempt.charges:
            attempts = self.attempts[charge.key]
            if attempts[-1] is attempt:
                continue
            self.withheld[charge.key] = self.withheld.get(charge.key, Fraction(0)) + now - attempt.at
            before = attempts[: attempts.index(attempt)]
            if any(one.refunded_at is not None and one.refunded_at >= attempt.at for one in before):
                too_much = min(Fraction(charge.cost), now - attempt.at)
                self.given[charge.key] = self.given.get(charge.key, Fraction(0)) + too_much

    def ahead(self, charge: Charge) -> Fraction:
        """Units by which the budget may be ahead."""
        return self.given.get(charge.key, Fraction(0)) / Fraction(charge.cost)

    def counted(self, charge: Charge) -> list[Fraction]:
        return [attempt.at for attempt in self.attempts.get(charge.key, []) if attempt.counts]

    def room(self, charge: Charge, now: Fraction) -> Fraction:
        """How many units the budget has at `now`: for each instant since which attempts are counted, what the budget
        held and has got back since then, less those attempts; the least of these."""
        size, cost = LIMITS[charge.kind], Fraction(charge.cost)
        instants = self.counted(charge)
        rooms = [size + (now - since) / cost - sum(1 for instant in instants if instant >= since) for since in instants]
        return min([Fraction(size), *rooms])


class Guessing(RuleBasedStateMachine):
    """Attempts that overlap, fail or turn out rightful; time, restarts and sweeps."""

    under_way = Bundle("under_way")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="signet-budgets-"))
        shutil.copy(_migrated(), self.folder / "auth.sqlite3")
        self.open_database()
        self.now = Fraction(NOW)
        self.history = History()
        self.open: list[Attempt] = []

    def open_database(self) -> None:
        # One transaction from restart to restart, each step a savepoint of it: a step need not wait for the disk.
        self.database = Database.open(f"sqlite:///{self.folder}/auth.sqlite3")
        self.connection = self.database.engine.connect()
        self.connection.begin()

    def close_database(self) -> None:
        self.connection.commit()
        self.connection.close()
        self.database.engine.dispose()

    @rule(target=under_way, name=st.sampled_from(NAMES), address=st.sampled_from(ADDRESSES))
    def attempt(self, name: str, address: str) -> object:
        attempt = self.let_through(name, address)
        return multiple() if attempt is None else attempt

    @rule(address=st.sampled_from(ADDRESSES), pauses=st.tuples(*[st.integers(0, HASHING_SECONDS // 3)] * 3))
    def overlap(self, address: str, pauses: tuple[int, int, int]) -> None:
        """Two that turn out rightful, one after the other, and between them one that fails."""
        first, second = self.let_through("alice", address), self.let_through("alice", address)
        self.wait_for(pauses[0])
        self.give_back(first)
        self.wait_for(pauses[1])
        third = self.let_through("bob", address)
        self.wait_for(pauses[2])
        self.give_back(second)
        if third is not None:
            self.open.remove(third)

    def let_through(self, name: str, address: str) -> Attempt | None:
        charges = charges_of(name, address)
        rooms = [self.history.room(charge, self.now) for charge in charges]
        most = [room + self.history.ahead(charge) for room, charge in zip(rooms, charges, strict=True)]
        taken = self.charge(charges)
        if isinstance(taken, BudgetSpent):
            costs = [Fraction(charge.cost) for charge in charges]
            longest = max((1 - room) * cost for room, cost in zip(rooms, costs, strict=True))
            least = max((1 - room) * cost for room, cost in zip(most, costs, strict=True))
            withheld = max(self.history.withheld.get(charge.key, Fraction(0)) for charge in charges)
            assert least - TOLERANCE < Fraction(taken.seconds) < longest + withheld + TOLERANCE
            return None
        assert min(most) >= 1 - TOLERANCE / 100
        attempt = Attempt(taken, self.now)
        self.history.add(attempt)
        self.open.append(attempt)
        return attempt

    def charge(self, charges: list[Charge]) -> Sequence[TakenUnit] | BudgetSpent:
        try:
            with self.connection.begin_nested():
                return SqlBudgets(self.connection).charge(charges, at=float(self.now))
        except BudgetSpent as spent:
            return spent

    @rule(attempt=consumes(under_way))
    def fail(self, attempt: Attempt) -> None:
        self.open.remove(attempt)

    @rule(attempt=consumes(under_way))
    def succeed(self, attempt: Attempt) -> None:
        self.give_back(attempt)

    def give_back(self, attempt: Attempt | None) -> None:
        if attempt is None:
            return
        self.open.remove(attempt)
        SqlBudgets(self.connection).refund(attempt.units, at=float(self.now))
        self.history.refund(attempt, self.now)

    @rule(seconds=st.integers(1, 2 * int(HOUR_SECONDS)))
    def wait(self, seconds: int) -> None:
        self.wait_for(seconds)

    def wait_for(self, seconds: int) -> None:
        # An attempt does not outlast the hash it waits for.
        ends = min((attempt.at + HASHING_SECONDS for attempt in self.open), default=self.now + seconds)
        self.now = min(self.now + seconds, max(ends, self.now))

    @rule()
    def restart(self) -> None:
        self.close_database()
        self.open_database()

    @rule()
    def sweep(self) -> None:
        SqlBudgets(self.connection).sweep(before=float(self.now), limit=100)

    @invariant()
    def nothing_exceeds_its_budget(self) -> None:
        """In any stretch of time, at most what the budget holds and what it gets back in that time."""
        for attempts in self.history.attempts.values():
            instants = [attempt.at for attempt in attempts if attempt.counts]
            for charge in (charge for charge in attempts[0].charges if self.history.attempts[charge.key] is attempts):
                for since in instants:
                    until = [instant for instant in instants if instant >= since]
                    allowed = LIMITS[charge.kind] + (max(until) - since) / Fraction(charge.cost)
                    assert len(until) <= allowed + self.history.ahead(charge) + TOLERANCE

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.close_database()
            shutil.rmtree(self.folder)


_made: list[Path] = []


def _migrated() -> Path:
    """A database with the schema, made once."""
    if not _made:
        path = Path(tempfile.mkdtemp(prefix="signet-budgets-")) / "auth.sqlite3"
        database = Database.open(f"sqlite:///{path}")
        migrate(database.engine, MIGRATIONS)
        database.engine.dispose()
        _made.append(path)
    return _made[0]


Guessing.TestCase.settings = settings(
    max_examples=50, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_no_history_exceeds_a_budget = pytest.mark.slow(Guessing.TestCase)


def test_no_interleaving_exceeds_a_budget(database_url: str) -> None:
    """Eight threads over two processes' connections guess and sign in as fast as they can, on a clock that moves on:
    what has failed in the end is never more than what the budget held and got back."""
    first, second = Database.open(database_url), Database.open(database_url)
    lock, instants = threading.Lock(), iter(range(100_000))
    failed: dict[bytes, list[float]] = {}

    def guess(engine_of: Database, chance: random.Random) -> None:
        writing = engine_of.engine.execution_options(begin="BEGIN IMMEDIATE")
        for _ in range(80):
            with lock:
                now = NOW + next(instants) * 1.5
            charges = charges_of(chance.choice(NAMES), chance.choice(ADDRESSES))
            try:
                with writing.begin() as connection:
                    units = SqlBudgets(connection).charge(charges, at=now)
            except BudgetSpent:
                continue
            if chance.random() < 0.4:
                with writing.begin() as connection:
                    SqlBudgets(connection).refund(units, at=now)
            else:
                with lock:
                    for charge in charges:
                        failed.setdefault(charge.key, []).append(now)

    threads = [
        threading.Thread(target=guess, args=((first, second)[number % 2], random.Random(number))) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for charge in {
        charge.key: charge for name in NAMES for address in ADDRESSES for charge in charges_of(name, address)
    }.values():
        instants_of = sorted(failed.get(charge.key, []))
        for index, since in enumerate(instants_of):
            for count, until in enumerate(instants_of[index:], start=1):
                # Those under way at once may have been given an earlier instant than those that came before them.
                assert count <= LIMITS[charge.kind] + (until - since + 8 * 1.5) / charge.cost + 0.01
    assert failed
    first.engine.dispose()
    second.engine.dispose()
