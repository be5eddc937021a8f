"""One transaction for each piece of work, on both databases; what fails in storage is said as such, and passes."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import structlog
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, event, select, text
from sqlalchemy.exc import IntegrityError

import shared.lane
import shared.postgresql_engine
import shared.sqlite_engine
from shared.database import Database, DatabaseReadiness, parse_database_url
from shared.transactions import DatabaseUnavailable

metadata = MetaData()
figures = Table("figures", metadata, Column("name", String, primary_key=True), Column("count", Integer, nullable=False))


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """Where an SQLite database may be made."""
    return tmp_path / "var" / "sample.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, sqlite_file: Path) -> AsyncIterator[Database]:
    """An open database with one table, of each kind in turn."""
    url = f"sqlite:///{sqlite_file}" if request.param == "sqlite" else request.getfixturevalue("postgresql_url")
    opened = Database.open(url)
    await opened.write(metadata.create_all)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """An open SQLite database that does not wait long for a lock."""
    monkeypatch.setattr(shared.sqlite_engine, "BUSY_SECONDS", 0.1)
    opened = Database.open(f"sqlite:///{sqlite_file}")
    await opened.write(metadata.create_all)
    yield opened
    await opened.close()


def add(connection: Connection) -> int:
    """Count one up, reading first as most work does; return the new count."""
    count = connection.execute(select(figures.c.count).where(figures.c.name == "a")).scalar_one_or_none()
    if count is None:
        connection.execute(figures.insert().values(name="a", count=1))
        return 1
    connection.execute(figures.update().values(count=count + 1))
    return int(count + 1)


def total(connection: Connection) -> int:
    return int(connection.execute(select(figures.c.count)).scalar_one_or_none() or 0)


async def test_a_write_is_kept_and_its_result_returned(database: Database) -> None:
    """What the work did is there for the next reader, and what it returned comes back."""
    assert await database.write(add) == 1
    assert await database.read(total) == 1


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    """Work that raises is undone whole, and its exception comes through as it is."""

    def fail(connection: Connection) -> None:
        add(connection)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await database.write(fail)
    assert await database.read(total) == 0


async def test_our_own_mistakes_are_not_called_a_failed_storage(database: Database) -> None:
    """A broken constraint is a fault of the work: it must be seen, not answered with 503."""
    await database.write(add)
    with pytest.raises(IntegrityError):
        await database.write(lambda connection: connection.execute(figures.insert().values(name="a", count=1)))


async def test_read_then_write_in_many_tasks_loses_no_update(sqlite: Database) -> None:
    """On SQLite a write holds the lock from its first statement, so what it read is still true when it writes."""
    results = await asyncio.gather(*(sqlite.write(add) for _ in range(100)))
    assert sorted(results) == list(range(1, 101))


async def test_two_processes_lose_no_update(sqlite: Database, sqlite_file: Path) -> None:
    """The same between processes: each waits for the other's lock."""
    shared.sqlite_engine.BUSY_SECONDS = 5.0  # put back by the fixture
    await sqlite.close()
    databases = [Database.open(f"sqlite:///{sqlite_file}") for _ in range(2)]
    await asyncio.gather(*(databases[number % 2].write(add) for number in range(100)))
    assert await databases[0].read(total) == 100
    for database in databases:
        await database.close()


async def test_readers_and_the_writer_do_not_wait_for_each_other(sqlite: Database) -> None:
    """A reader sees the last committed state while a write is under way (WAL), and does not hold it up."""
    wrote, read = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        add(connection)
        wrote.set()
        assert read.wait(5)

    def look(connection: Connection) -> int:
        assert wrote.wait(5)
        found = total(connection)
        read.set()
        return found

    _, found = await asyncio.gather(sqlite.write(write), sqlite.read(look))
    assert (found, await sqlite.read(total)) == (0, 1)


async def test_the_loop_goes_on_while_the_database_works(sqlite: Database) -> None:
    """Work runs on a thread: nothing it waits for blocks the loop."""
    release = threading.Event()
    work = asyncio.create_task(sqlite.read(lambda _connection: release.wait(5)))
    for _ in range(3):
        await asyncio.sleep(0.01)
    assert not work.done()
    release.set()
    assert await work


async def test_a_commit_is_on_the_disk_when_it_is_acknowledged(sqlite: Database) -> None:
    """SQLite runs with a write-ahead log that is synced at each commit, foreign keys on, odd schemas off."""

    def pragmas(connection: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}
    assert await sqlite.read(pragmas) == await sqlite.write(pragmas) == expected


async def test_only_a_write_that_need_not_be_durable_does_not_wait_for_the_disk(
    database: Database,
) -> None:
    """It is told for one transaction and for no other, whichever connection that gets; what it wrote is there."""
    sqlite = database.engine.dialect.name == "sqlite"

    def durability(connection: Connection) -> str:
        add(connection)
        shown = "PRAGMA synchronous" if sqlite else "SHOW synchronous_commit"
        return str(connection.exec_driver_sql(shown).scalar_one())

    durable, quick = ("2", "1") if sqlite else ("on", "off")
    if not sqlite:  # the server of the tests waits for no disk by itself
        await database.write(
            lambda connection: connection.exec_driver_sql(
                f"ALTER DATABASE {connection.engine.url.database} SET synchronous_commit = on"
            )
        )
        database.engine.dispose()
    told = [await database.write(durability, durable=flag) for flag in (True, False, False, True, False, True)]
    assert told == [durable, quick, quick, durable, quick, durable]
    assert await database.read(total) == len(told)
    with pytest.raises(IntegrityError):
        await database.write(lambda connection: connection.execute(figures.insert().values(name="a")), durable=False)
    assert await database.read(total) == len(told)


def test_the_files_are_closed_whatever_the_umask(sqlite_file: Path) -> None:
    """The database, its log and its index are 0600 in a 0700 folder, also under umask 0."""
    code = f"""
        import asyncio, os, pathlib
        os.umask(0)
        from shared.database import Database
        async def main():
            database = Database.open("sqlite:///{sqlite_file}")
            await database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (x)"))
            for path in sorted(pathlib.Path("{sqlite_file.parent}").iterdir()):
                print(path.name, oct(path.stat().st_mode & 0o777))
            await database.close()
        asyncio.run(main())
    """
    finished = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    name = sqlite_file.name
    assert finished.stdout.split() == [name, "0o600", f"{name}-shm", "0o600", f"{name}-wal", "0o600"]
    assert stat.S_IMODE(sqlite_file.parent.stat().st_mode) == 0o700


# Reads that come together.


async def test_reads_that_come_together_share_a_transaction(sqlite: Database) -> None:
    """What arrives while one transaction reads is answered by the next; everybody gets their own result."""
    begun: list[str] = []
    event.listen(sqlite.engine, "begin", lambda _connection: begun.append("BEGIN"))

    def number(value: int) -> Callable[[Connection], int]:
        return lambda connection: int(connection.execute(text(f"SELECT {value}")).scalar_one())

    results = await asyncio.gather(*(sqlite.read(number(value)) for value in range(200)))
    assert results == list(range(200))
    assert len(begun) < 20


async def test_a_read_that_fails_spoils_no_other(sqlite: Database) -> None:
    """Each of the reads that were answered together has its own outcome, whatever happened to its neighbours."""

    def lookup(_connection: Connection) -> int:
        raise KeyError("mine")

    def missing(connection: Connection) -> int:
        return int(connection.execute(text("SELECT x FROM nowhere")).scalar_one())

    with structlog.testing.capture_logs():
        outcomes = await asyncio.gather(
            sqlite.read(total), *(sqlite.read(work) for work in (total, lookup, missing, total)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [int, int, KeyError, DatabaseUnavailable, int]


async def test_a_reader_that_leaves_spoils_no_other(sqlite: Database) -> None:
    """A request that is cancelled while it waits leaves the others their results, and the way free."""
    release = threading.Event()
    first = asyncio.create_task(sqlite.read(lambda _connection: release.wait(5)))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(sqlite.read(total)) for _ in range(3)]
    await asyncio.sleep(0.01)
    others[1].cancel()
    first.cancel()
    release.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, int, asyncio.CancelledError, int]
    assert await sqlite.read(total) == 0


async def test_a_vital_read_waits_behind_no_other(database: Database) -> None:
    """However many reads are under way, and however long they take."""
    release = threading.Event()
    reads = [asyncio.create_task(database.read(lambda _connection: release.wait(5))) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert await database.read(total, vital=True) == 0
    assert not any(read.done() for read in reads)
    release.set()
    assert all(await asyncio.gather(*reads))


async def test_closing_answers_the_reads_that_wait(sqlite: Database) -> None:
    """Reads that were asked for before the close are answered, those behind a running one too."""
    reads = [asyncio.create_task(sqlite.read(total)) for _ in range(100)]
    await asyncio.sleep(0)
    await sqlite.close()
    assert await asyncio.gather(*reads) == [0] * 100


# What fails in storage.


async def test_a_locked_file_is_unavailable_and_then_available_again(sqlite: Database, sqlite_file: Path) -> None:
    """Hostile cases, Storage, "database is locked": 503 while it lasts, and no restart afterwards."""
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseUnavailable) as refused:
        await sqlite.write(add)
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
    assert await sqlite.read(total) == 0
    other.execute("ROLLBACK")
    other.close()
    assert await sqlite.write(add) == 1


@pytest.fixture
def full_disk(sqlite_file: Path) -> Iterator[None]:
    """No file of this process can grow beyond a few bytes until the fixture is undone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_unavailable_and_then_available_again(sqlite: Database, full_disk: None) -> None:
    """Hostile cases, Storage, "disk full": 503, nothing half written, and no restart afterwards."""
    await sqlite.write(add)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    with structlog.testing.capture_logs(), pytest.raises(DatabaseUnavailable):  # nothing can be written to a log file
        await sqlite.write(add)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert await sqlite.read(total) == 1
    assert await sqlite.write(add) == 2


async def test_a_corrupt_file_is_unavailable_and_a_restored_one_is_served(sqlite: Database, sqlite_file: Path) -> None:
    """A file that is no database is 503, at once; when the backup is put back, it is served without a restart."""
    await sqlite.write(add)
    await sqlite.close()
    good = sqlite_file.read_bytes()
    sqlite_file.write_bytes(b"no database " * 1000)
    broken = Database.open(f"sqlite:///{sqlite_file}")
    for work in (broken.read, broken.write):
        with pytest.raises(DatabaseUnavailable):
            await work(total)
    sqlite_file.write_bytes(good)
    assert await broken.read(total) == 1
    await broken.close()


def test_a_read_only_file_is_unavailable_and_then_available_again() -> None:
    """Hostile cases, Storage, "read-only FS": writing is 503 while it lasts, and no restart afterwards."""
    # Another user, because root may write anywhere; and so in a process and a folder of its own. What that user may
    # not read is loaded before.
    code = """
        import asyncio, os, pathlib, tempfile
        from shared.database import Database
        from shared.transactions import DatabaseUnavailable

        async def create(folder, closed):
            file = pathlib.Path(folder) / "sample.sqlite3"
            database = Database.open(f"sqlite:///{file}")
            if closed:
                file.chmod(0o400), file.parent.chmod(0o500)
            try:
                await database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (x)"))
                print("RESULT written")
            except DatabaseUnavailable:
                print("RESULT unavailable")
                file.parent.chmod(0o700), file.chmod(0o600)
                await database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (x)"))
                print("RESULT written then")
            await database.close()

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(create(folder, closed=False))
        if os.geteuid() == 0:
            os.setgid(65534), os.setuid(65534)
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(create(folder, closed=True))
    """
    finished = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, timeout=30, check=True
    )
    results = [line for line in finished.stdout.splitlines() if line.startswith("RESULT")]
    assert results == ["RESULT written", "RESULT unavailable", "RESULT written then"]


async def test_a_folder_in_the_place_of_the_file_stops_the_opening(tmp_path: Path) -> None:
    """What can never work is said when it is opened."""
    with pytest.raises(OSError, match="directory"):
        Database.open(f"sqlite:///{tmp_path}")


async def test_a_lost_connection_is_unavailable_once(postgresql_url: str) -> None:
    """PostgreSQL restarted: at most the request that finds out is refused, the next is served."""
    database = Database.open(postgresql_url)
    await database.write(metadata.create_all)

    def end_all(connection: Connection) -> None:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()")
        )

    with pytest.raises(DatabaseUnavailable):
        await database.write(end_all)
    assert await database.write(add) == 1
    await database.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """Nobody listens: 503, soon, and the log names no password."""
    database = Database.open("postgresql://user:canary314@127.0.0.1:1/none")
    with structlog.testing.capture_logs() as logs, pytest.raises(DatabaseUnavailable) as refused:
        await database.read(total)
    assert "canary314" not in repr(logs) + repr(refused.value) + repr(refused.value.__cause__)
    await database.close()


async def test_readiness_is_being_able_to_read(database: Database) -> None:
    """With a schema it is ready, also while every other reader waits; where nobody listens it is not."""
    await database.write(
        lambda connection: connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
    )
    release = threading.Event()
    reads = [asyncio.create_task(database.read(lambda _connection: release.wait(5))) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert await DatabaseReadiness(database).report() == (True, {})
    assert not any(read.done() for read in reads)
    release.set()
    await asyncio.gather(*reads)
    absent = Database.open("postgresql://nobody@127.0.0.1:1/none")
    assert await DatabaseReadiness(absent).report() == (False, {})
    await absent.close()


async def test_a_crowd_that_asks_shares_a_look(database: Database) -> None:
    """More callers at once than the database's waiting room holds: none is told that it failed."""
    await database.write(
        lambda connection: connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
    )
    readiness = DatabaseReadiness(database)
    reports = await asyncio.gather(*(readiness.report() for _ in range(2_000)))
    assert {ready for ready, _ in reports} == {True}
    await database.write(lambda connection: connection.exec_driver_sql("DROP TABLE alembic_version"))
    assert await readiness.report() == (False, {})


async def test_a_file_that_is_no_service_s_is_not_ready(sqlite: Database, sqlite_file: Path) -> None:
    """An empty file, and one that is no database, cannot be served from, though SQLite opens them."""
    assert await DatabaseReadiness(sqlite).report() == (False, {})
    await sqlite.close()
    sqlite_file.write_bytes(b"no database " * 1000)
    broken = Database.open(f"sqlite:///{sqlite_file}")
    assert await DatabaseReadiness(broken).report() == (False, {})
    await broken.close()


async def test_a_long_statement_is_ended(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL ends a statement that takes too long, and the caller is told to come back."""
    monkeypatch.setattr(shared.postgresql_engine, "STATEMENT_MILLISECONDS", 50)
    database = Database.open(postgresql_url)
    with pytest.raises(DatabaseUnavailable):
        await database.read(lambda connection: connection.execute(text("SELECT pg_sleep(5)")))
    assert await database.read(lambda connection: connection.execute(text("SELECT 1")).scalar_one()) == 1
    await database.close()


async def test_the_failure_is_logged_once_without_what_was_sent(sqlite: Database, sqlite_file: Path) -> None:
    """The log says why storage failed; the values of the statement are not in it, nor in the exception."""
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    row = figures.insert().values(name="canary314", count=1)
    with structlog.testing.capture_logs() as logs, pytest.raises(DatabaseUnavailable) as refused:
        await sqlite.write(lambda connection: connection.execute(row))
    other.close()
    assert [line["event"] for line in logs] == ["database_unavailable"]
    assert "locked" in logs[0]["cause"]
    assert "canary314" not in repr(logs) + repr(refused.value) + repr(refused.value.__cause__)


async def test_more_work_than_can_wait_is_refused_at_once(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded; reads have one of their own. When it has been worked off, work is taken again."""
    monkeypatch.setattr(shared.lane, "MAX_WAITING", 4)
    release = threading.Event()
    waiting = [asyncio.create_task(sqlite.write(lambda _connection: release.wait(5))) for _ in range(1 + 4)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await sqlite.write(add)
    assert await sqlite.read(total) == 0
    release.set()
    await asyncio.gather(*waiting)
    assert await sqlite.write(add) == 1


async def test_who_has_waited_too_long_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of work that no thread has begun within the bound is 503 and is not done; what runs is finished."""
    monkeypatch.setattr(shared.lane, "MAX_WAITING_SECONDS", 0.2)
    release = threading.Event()
    running = [
        asyncio.create_task(database.write(lambda _connection: release.wait(5)))
        for _ in range(shared.postgresql_engine.CONNECTIONS)
    ]
    await asyncio.sleep(0)
    begun = asyncio.get_running_loop().time()
    waiting = [asyncio.create_task(database.write(add)) for _ in range(10)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
    assert 0.1 < asyncio.get_running_loop().time() - begun < 4
    release.set()
    finished = await asyncio.gather(*running, return_exceptions=True)
    assert True in finished
    assert await database.read(total) == 0
    assert await database.write(add) == 1


async def test_closing_finishes_what_runs(sqlite: Database) -> None:
    """A write that was begun is finished and kept before the connections close."""
    begun = threading.Event()

    def work(connection: Connection) -> int:
        begun.set()
        return add(connection)

    write = asyncio.create_task(sqlite.write(work))
    await asyncio.to_thread(begun.wait, 5)
    await sqlite.close()
    assert await write == 1


@pytest.mark.parametrize(
    ("url", "drivername"),
    [
        ("sqlite:///var/a.sqlite3", "sqlite+pysqlite"),
        ("sqlite+pysqlite:////srv/a.sqlite3", "sqlite+pysqlite"),
        ("postgresql://user:secret@host:5432/name?sslmode=require", "postgresql+psycopg"),
        ("postgresql+psycopg://host/name", "postgresql+psycopg"),
    ],
)
def test_urls_that_are_taken(url: str, drivername: str) -> None:
    """SQLite files and PostgreSQL, in SQLAlchemy's form; the driver is ours to choose."""
    assert parse_database_url(url).drivername == drivername


@pytest.mark.parametrize(
    "url",
    [
        "",
        "canary314",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:canary314?mode=memory&uri=true",
        "sqlite:///canary314?mode=memory&uri=true",
        "sqlite+aiosqlite:///canary314",
        "mysql://user:canary314@host/name",
        "postgresql+asyncpg://user:canary314@host/name",
        "postgresql://host:canary314/name",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """Everything else is a ValueError whose text does not show the URL: it may hold a password."""
    with pytest.raises(ValueError, match=r"^(is|must)") as refused:
        parse_database_url(url)
    assert "canary314" not in str(refused.value)
