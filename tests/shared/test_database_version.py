"""The version of an SQLite file changes with every commit of anybody, and says so when it cannot be known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.database_version import DatabaseVersion


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
