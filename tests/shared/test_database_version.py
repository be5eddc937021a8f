"""The version of an SQLite file changes with every commit of anybody, and says so when it cannot be known."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.database_version import DatabaseVersion, VersionOfTheTurn


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database in WAL mode, as ours are."""
    path = tmp_path / "a file?#%.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (n)")
    connection.close()
    return path


@pytest.fixture
def version(file: Path) -> Iterator[DatabaseVersion]:
    opened = DatabaseVersion.open(f"sqlite:///{str(file).replace('?', '%3F')}")
    yield opened
    opened.close()


def test_every_commit_of_another_connection_changes_it(file: Path, version: DatabaseVersion) -> None:
    seen = {version.read()}
    assert version.read() in seen
    for number in range(5):
        other = sqlite3.connect(file)
        other.execute("INSERT INTO t VALUES (?)", (number,))
        assert version.read() in seen, "what is not committed has not happened"
        other.commit()
        other.close()
        assert version.read() not in seen
        seen.add(version.read())
    assert None not in seen


def test_what_is_rolled_back_does_not_change_it(file: Path, version: DatabaseVersion) -> None:
    before = version.read()
    other = sqlite3.connect(file)
    other.execute("INSERT INTO t VALUES (1)")
    other.rollback()
    other.close()
    assert version.read() == before


def test_it_is_unknown_while_the_file_is_locked_whole_and_known_again_after(
    file: Path, version: DatabaseVersion
) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    version.close()
    version._connection = sqlite3.connect(file, timeout=0)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    assert version.read() is None
    other.execute("COMMIT")
    other.close()
    assert version.read() is not None


def test_postgresql_has_none() -> None:
    version = DatabaseVersion.open("postgresql://nobody@127.0.0.1:1/none")
    assert version.read() is None
    version.close()


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        DatabaseVersion.open(f"sqlite:///{tmp_path}/missing.sqlite3")
    assert list(tmp_path.iterdir()) == []


class Commits:
    """A version that changes when it is told to; `meanwhile` is done between the asking and the answer."""

    def __init__(self) -> None:
        self.number = 0
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def read(self) -> int:
        self.asked += 1
        number = self.number
        self.meanwhile()
        return number


async def test_a_turn_of_the_loop_asks_once() -> None:
    """However many ask in it; and the next one asks again."""
    commits = Commits()
    version = VersionOfTheTurn(commits)

    async def ask() -> int | None:
        return version.read()

    for turn in range(1, 4):
        await asyncio.gather(*(ask() for _ in range(10)))
        assert commits.asked == turn


async def test_who_is_woken_by_a_commit_sees_it() -> None:
    """A commit of another thread that comes while the version is asked for, and wakes somebody at once."""
    commits = Commits()
    version = VersionOfTheTurn(commits)
    loop = asyncio.get_running_loop()
    seen: list[int | None] = []

    def commit() -> None:
        commits.number += 1
        loop.call_soon_threadsafe(lambda: seen.append(version.read()))

    def commit_meanwhile() -> None:
        thread = threading.Thread(target=commit)
        thread.start()
        thread.join()

    commits.meanwhile = commit_meanwhile
    assert version.read() == 0
    commits.meanwhile = lambda: None
    assert version.read() == 0, "the turn goes on with what it knows"
    await asyncio.sleep(0)
    assert seen == [1]


async def test_a_write_that_was_acknowledged_is_seen(file: Path, version: DatabaseVersion) -> None:
    """Readers all the time, and a writer in a thread: after each of its commits the version is another one."""
    of_the_turn = VersionOfTheTurn(version)
    reading = True

    async def read_on() -> None:
        while reading:
            of_the_turn.read()
            await asyncio.sleep(0)

    def write(number: int) -> None:
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("INSERT INTO t VALUES (?)", (number,))

    readers = [asyncio.create_task(read_on()) for _ in range(3)]
    last = of_the_turn.read()
    for number in range(60):
        await asyncio.to_thread(write, number)
        assert of_the_turn.read() != last
        last = of_the_turn.read()
    reading = False
    await asyncio.gather(*readers)
