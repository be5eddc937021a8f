"""Writes to SQLite that come together share a commit: what is acknowledged is stored, what is refused is not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Integer, MetaData, Table, select, text
from sqlalchemy.exc import IntegrityError

import shared.transactions
from shared.database import Database
from shared.transactions import WRITES_TOGETHER, DatabaseUnavailable
from tests.commits import Held, watched

metadata = MetaData()
numbers = Table("numbers", metadata, Column("number", Integer, primary_key=True))
LONGEST_TURN_SECONDS = 2.0
"""For another process's turn to write, on a busy machine; it takes some hundredths."""
ANYTHING = DatabaseUnavailable | IntegrityError | KeyError


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(tmp_path / "sample.sqlite3") as database:
        yield database


@contextlib.asynccontextmanager
async def opened(file: Path) -> AsyncIterator[Database]:
    """An SQLite database with one table."""
    database = Database.open(f"sqlite:///{file}")
    await database.write(metadata.create_all)
    yield database
    await database.close()


def store(number: int) -> Callable[[Connection], int]:
    """Work that stores a number and returns it."""

    def work(connection: Connection) -> int:
        connection.execute(numbers.insert().values(number=number))
        return number

    return work


def stored(connection: Connection) -> list[int]:
    return list(connection.execute(select(numbers.c.number).order_by(numbers.c.number)).scalars())


async def together(
    database: Database, works: Sequence[Callable[[Connection], Any]], *, quick: Sequence[int] = ()
) -> list[Any]:
    """What came of pieces of work that wait while another one is under way; those at `quick` are not durable."""
    held = Held()
    holding = asyncio.create_task(database.write(held.hold))
    await asyncio.sleep(0)
    waiting = [
        asyncio.create_task(database.write(work, durable=place not in quick)) for place, work in enumerate(works)
    ]
    await asyncio.sleep(0)
    held.release()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(holding, return_exceptions=True)
    return outcomes


async def test_writes_that_come_together_share_a_commit(database: Database) -> None:
    """One commit for all, in the order in which they came; everybody gets their own result."""
    with watched() as commits:
        outcomes = await together(database, [store(number) for number in range(20)])
    assert outcomes == list(range(20))
    assert commits.of == [1, 20]
    assert await database.read(stored) == list(range(20))


async def test_a_write_alone_waits_for_nobody(database: Database) -> None:
    """It is a transaction of its own, without a savepoint."""
    with watched() as commits:
        for number in range(3):
            await database.write(store(number))
    assert commits.of == [1, 1, 1]


async def test_a_write_sees_what_came_before_it(database: Database) -> None:
    """Pieces of one commit run one after another, so reading first and writing then loses no update."""

    def add(connection: Connection) -> int:
        return store(len(stored(connection)))(connection)

    assert await together(database, [add] * 50) == list(range(50))


async def test_a_write_that_fails_undoes_only_itself(database: Database) -> None:
    """Its neighbours are stored; it has left nothing, whether it failed by itself or by the database."""

    def change_mind(connection: Connection) -> None:
        store(2)(connection)
        raise KeyError("mine")

    def repeat(connection: Connection) -> None:
        store(3)(connection)
        store(1)(connection)

    def miss(connection: Connection) -> None:
        store(4)(connection)
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    with structlog.testing.capture_logs() as logs:
        outcomes = await together(database, [store(1), change_mind, repeat, miss, store(5)])
    assert [type(outcome) for outcome in outcomes] == [int, KeyError, IntegrityError, DatabaseUnavailable, int]
    assert await database.read(stored) == [1, 5]
    assert [line["event"] for line in logs] == ["database_unavailable"]


async def test_a_commit_that_fails_acknowledges_nothing(database: Database) -> None:
    """Nobody is told anything but 503, also who was to be refused for what another one had just written."""

    def refuse_repetition(connection: Connection) -> None:
        assert stored(connection) == [1]
        raise KeyError("taken")

    with watched(2), structlog.testing.capture_logs():
        outcomes = await together(database, [store(1), refuse_repetition, store(2)])
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
    assert await database.read(stored) == []
    assert await together(database, [store(1), store(2)]) == [1, 2]


async def test_a_transaction_that_sqlite_undid_acknowledges_nothing(database: Database) -> None:
    """Some failures undo the whole transaction: then nobody of it is told that anything is stored."""

    def lose_all(connection: Connection) -> None:
        store(2)(connection)
        connection.exec_driver_sql("ROLLBACK")
        connection.execute(text("SELECT x FROM nowhere"))

    with structlog.testing.capture_logs() as logs:
        outcomes = await together(database, [store(1), lose_all, store(3)])
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
    assert all("nowhere" in line["cause"] for line in logs)
    assert await database.read(stored) == []
    assert await database.write(store(1)) == 1


async def test_a_full_disk_in_the_middle(database: Database) -> None:
    """Whoever found no room is refused, whoever was told that it is stored finds it."""

    def shut(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill(connection: Connection) -> None:
        connection.execute(numbers.insert(), [{"number": number} for number in range(10_000)])

    def open_again(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    with structlog.testing.capture_logs():
        outcomes = await together(database, [store(-2), shut, fill, open_again, store(-1)])
    assert isinstance(outcomes[2], DatabaseUnavailable)
    kept = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert await database.read(stored) == kept
    await database.write(open_again)
    assert await database.write(store(-3)) == -3


async def test_one_that_must_be_durable_makes_all_of_them_durable(database: Database) -> None:
    """Only where nobody of a commit needs the disk, nobody waits for it."""

    def synchronous(connection: Connection) -> int:
        store(len(stored(connection)))(connection)
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    assert await together(database, [synchronous] * 4, quick=[0, 1, 3]) == [2] * 4
    assert await together(database, [synchronous] * 4, quick=[0, 1, 2, 3]) == [1] * 4
    assert await together(database, [synchronous] * 4) == [2] * 4


async def test_a_commit_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces, and in time: what is left goes with the next one, in its order."""
    monkeypatch.setattr(shared.transactions, "WRITING_SECONDS", 60.0)
    with watched() as commits:
        await together(database, [store(number) for number in range(WRITES_TOGETHER + 6)])
    assert commits.of == [1, WRITES_TOGETHER, 6]
    monkeypatch.setattr(shared.transactions, "WRITING_SECONDS", 0.0)
    with watched() as commits:
        outcomes = await together(database, [store(number) for number in range(100, 105)])
    assert commits.of == [1] * 6
    assert outcomes == [100, 101, 102, 103, 104]


async def test_who_leaves_before_their_turn_has_stored_nothing(database: Database) -> None:
    """A request that is cancelled while it waits is not done, and spoils no other."""
    held = Held()
    holding = asyncio.create_task(database.write(held.hold))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(database.write(store(number))) for number in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[3].cancel()
    held.release()
    await asyncio.gather(holding, *waiting, return_exceptions=True)
    assert await database.read(stored) == [1, 2, 4]


async def test_closing_stores_what_waits(database: Database, tmp_path: Path) -> None:
    """Writes that were asked for before the close are stored and acknowledged."""
    writes = [asyncio.create_task(database.write(store(number))) for number in range(200)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == list(range(200))
    async with opened(tmp_path / "sample.sqlite3") as again:
        assert await again.read(stored) == list(range(200))


async def test_another_process_gets_its_turn(database: Database, tmp_path: Path) -> None:
    """Beside one that writes without a pause, as much as a commit takes, another one writes soon."""
    stopping = False
    own, others = itertools.count(0), itertools.count(1_000_000)

    async def write_on() -> None:
        while not stopping:
            await database.write(store(next(own)))

    flood = [asyncio.create_task(write_on()) for _ in range(200)]
    loop = asyncio.get_running_loop()
    waits = []
    try:
        async with opened(tmp_path / "sample.sqlite3") as other:
            for _ in range(20):
                begun = loop.time()
                await other.write(store(next(others)))
                waits.append(loop.time() - begun)
    finally:
        stopping = True
        await asyncio.gather(*flood)
    assert max(waits) < LONGEST_TURN_SECONDS


# Any history.


class Fate(Enum):
    """What a piece of work does after it has stored its number."""

    STAY = auto()
    CHANGE_MIND = auto()
    BREAK_A_CONSTRAINT = auto()
    BREAK_STORAGE = auto()
    LEAVE = auto()
    """Whoever asked goes before it is answered: it may be stored or not."""


def meet(fate: Fate, number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        store(number)(connection)
        if fate is Fate.CHANGE_MIND:
            raise KeyError(number)
        if fate is Fate.BREAK_A_CONSTRAINT:
            store(number)(connection)
        if fate is Fate.BREAK_STORAGE:
            connection.execute(text("SELECT x FROM nowhere"))
        return number

    return work


fates = st.lists(st.lists(st.sampled_from(Fate), min_size=1, max_size=12), min_size=1, max_size=5)


@settings(max_examples=60)
@given(bursts=fates, failing=st.sets(st.integers(min_value=2, max_value=12), max_size=3), durable=st.booleans())
def test_acknowledged_is_stored_and_refused_is_not(
    tmp_path_factory: pytest.TempPathFactory, bursts: list[list[Fate]], failing: set[int], durable: bool
) -> None:
    """Bursts of writes of which any may fail, by themselves or with their commit, or be left by who asked."""
    asyncio.run(_live_through(tmp_path_factory.mktemp("history"), bursts, failing, durable=durable))


async def _live_through(folder: Path, bursts: list[list[Fate]], failing: set[int], *, durable: bool) -> None:
    acknowledged, refused = set[int](), set[int]()
    count = itertools.count()
    async with opened(folder / "sample.sqlite3") as database:
        with watched(*failing) as commits, structlog.testing.capture_logs():
            for burst in bursts:
                asked = [(next(count), fate) for fate in burst]
                tasks = [asyncio.create_task(database.write(meet(fate, n), durable=durable)) for n, fate in asked]
                await asyncio.sleep(0)
                for task, (_, fate) in zip(tasks, asked, strict=True):
                    if fate is Fate.LEAVE:
                        task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                for (number, fate), outcome in zip(asked, outcomes, strict=True):
                    if fate is Fate.LEAVE:
                        continue
                    assert isinstance(outcome, ANYTHING) or (fate is Fate.STAY and outcome == number)
                    (acknowledged if outcome == number else refused).add(number)
        # None of those that left is still at it.
        await database.write(lambda _connection: None)
        found = set(await database.read(stored))
    assert acknowledged <= found
    assert not refused & found
    if not any(number <= len(commits.of) for number in failing):
        steady = sum(fate is Fate.STAY for burst in bursts for fate in burst)
        assert len(acknowledged) == steady
