"""The schema is brought up to date at start: once, whole, by one of the processes that start together."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import structlog
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

import shared.database
import shared.migrations
import shared.postgresql_engine
import shared.sqlite_engine
from shared.database import Database
from shared.migrations import migrate, newest_revision
from shared.transactions import DatabaseUnavailable

ENVIRONMENT = """
from sqlalchemy import MetaData
from shared.migrations import run_revisions
run_revisions(MetaData())
"""


def add_revision(location: Path, number: int, body: str) -> None:
    """Write revision `number`, whose upgrade is `body`."""
    before = repr(f"{number - 1:04}") if number > 1 else None
    lines = f"from alembic import op\nimport time\nrevision = '{number:04}'\ndown_revision = {before}\n"
    lines += f"def upgrade():\n    {body}\n"
    (location / "versions" / f"{number:04}_step.py").write_text(lines)


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A migrations folder with one revision, below a folder whose name Alembic's format would trip over."""
    folder = tmp_path / "100%done" / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    add_revision(folder, 1, "op.execute('CREATE TABLE first (x INTEGER)')")
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sample.sqlite3"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = Database.open(url).engine
    yield engine
    engine.dispose()


def tables(engine: Engine) -> list[str]:
    return sorted(inspect(engine).get_table_names())


def revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def test_a_new_database_gets_every_revision(engine: Engine, location: Path) -> None:
    """All revisions are applied in order, and the newest is noted."""
    add_revision(location, 2, "op.execute('ALTER TABLE first ADD COLUMN y INTEGER')")
    migrate(engine, location)
    assert (tables(engine), revision(engine)) == (["alembic_version", "first"], "0002")
    assert [column["name"] for column in inspect(engine).get_columns("first")] == ["x", "y"]


def test_a_later_release_applies_what_is_new(engine: Engine, location: Path) -> None:
    """An existing database gets only the revisions it lacks."""
    migrate(engine, location)
    add_revision(location, 2, "op.execute('CREATE TABLE second (x INTEGER)')")
    migrate(engine, location)
    assert tables(engine) == ["alembic_version", "first", "second"]


def test_a_current_database_is_left_alone(engine: Engine, location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing is to be done, Alembic is not even loaded, and nothing is written."""
    migrate(engine, location)
    monkeypatch.setitem(sys.modules, "alembic", None)
    with structlog.testing.capture_logs() as logs:
        migrate(engine, location)
    assert logs == []


def test_a_newer_database_is_served_with_a_warning(engine: Engine, location: Path) -> None:
    """An older release starts on the schema of a newer one: going back must not need a restore."""
    add_revision(location, 2, "op.execute('CREATE TABLE second (x INTEGER)')")
    migrate(engine, location)
    (location / "versions" / "0002_step.py").unlink()
    with structlog.testing.capture_logs() as logs:
        migrate(engine, location)
    assert logs == [{"event": "schema_is_newer", "revision": "0002", "known": "0001", "log_level": "warning"}]


def test_a_revision_that_fails_leaves_the_database_as_it_was(engine: Engine, location: Path) -> None:
    """The upgrade is one transaction: tables made before the failure are gone again, and so is the note."""
    add_revision(location, 2, "op.execute('CREATE TABLE second (x INTEGER)'); op.execute('nonsense')")
    with pytest.raises((DBAPIError, DatabaseUnavailable)):
        migrate(engine, location)
    assert tables(engine) == []
    add_revision(location, 2, "op.execute('CREATE TABLE second (x INTEGER)')")
    migrate(engine, location)
    assert revision(engine) == "0002"


def test_processes_that_start_together_migrate_once(url: str, location: Path) -> None:
    """One migrates while the others wait, longer than a statement may, and then find nothing to do."""
    add_revision(location, 2, "time.sleep(0.5); op.execute('CREATE TABLE second (x INTEGER)')")
    code = f"""
        import pathlib, sys
        import shared.database
        shared.sqlite_engine.BUSY_SECONDS = 0.1
        shared.postgresql_engine.STATEMENT_MILLISECONDS = 100
        from shared.migrations import migrate
        engine = shared.database.Database.open({url!r}).engine
        sys.stdin.readline()
        migrate(engine, pathlib.Path({str(location)!r}))
        engine.dispose()
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate("\n", timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert sum("schema_migrated" in out for out, _ in outputs) == 1


def test_a_database_that_stays_locked_is_unavailable(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is not given up ends the start, after a bounded wait, with the reason that a service prints."""
    monkeypatch.setattr(shared.sqlite_engine, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(shared.migrations, "LOCK_TRIES", 2)
    engine = Database.open(f"sqlite:///{tmp_path}/sample.sqlite3").engine
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    holder = sqlite3.connect(tmp_path / "sample.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable):
        migrate(engine, location)
    holder.close()
    migrate(engine, location)
    engine.dispose()


def test_a_server_that_is_not_there_is_unavailable(location: Path) -> None:
    """The same when nobody listens at the address."""
    engine = Database.open("postgresql://user@127.0.0.1:1/none").engine
    with pytest.raises(DatabaseUnavailable):
        migrate(engine, location)


def test_a_folder_without_revisions_is_a_mistake(tmp_path: Path) -> None:
    """A service whose revisions were left out of its image must not start on an empty schema."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "notes.py").touch()
    with pytest.raises(FileNotFoundError):
        newest_revision(tmp_path)
