"""One service's own database: the engine, and transactions that cost one hop to a thread.

SQLAlchemy Core on SQLite or PostgreSQL. A piece of work is a plain function of a `Connection`; it runs whole,
as one transaction, on a worker thread. (A hop costs about 0.1 ms, so a driver that hops for each statement
costs several times as much.) Migrations are in `shared.migrations`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, Executable, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import Unavailable
from shared.private_files import make_private_file

T = TypeVar("T")

log = structlog.get_logger(__name__)

SQLITE_CONNECTIONS = 2
"""One that reads beside the one that writes: in WAL mode neither waits for the other."""
READS_TOGETHER = 32
"""How many reads one transaction may answer: enough to share its cost, few enough that none waits long for it."""
SQLITE_BUSY_SECONDS = 5.0
"""How long a statement waits for another process's lock before it counts as a failure."""
POSTGRESQL_CONNECTIONS = 8
POSTGRESQL_CONNECT_SECONDS = 3
POSTGRESQL_STATEMENT_MILLISECONDS = 5_000
MAX_WAITING = 512
"""Pieces of work that may wait for a thread. Beyond it the answer is 503: a queue would only grow."""


class DatabaseUnavailable(Unavailable):
    """Storage failed: locked, full, read-only, gone, or too much waits for it. The cause is chained."""


def parse_database_url(url: str) -> URL:
    """Read a SQLAlchemy URL for SQLite (a file) or PostgreSQL; raise ValueError saying what is wrong."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the text of a ValueError would show a part of the URL
        raise ValueError("is not a database URL such as sqlite:///file or postgresql://user@host/name") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise ValueError("must name a file: an SQLite database in memory would lose everything")
        if parsed.query:
            raise ValueError("must not have a query: how SQLite is opened is decided here")
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError("must be an sqlite:/// or a postgresql:// URL")


class Database:
    """An engine and the threads that work on it.

    `read` and `write` raise `DatabaseUnavailable` when storage failed, and whatever the work raised otherwise.
    """

    def __init__(self, engine: Engine, *, writers: int, gather_reads: bool) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(writers, thread_name_prefix="database")
        self._write_engine = engine.execution_options(begin="BEGIN IMMEDIATE")
        self._quick_engine = self._write_engine.execution_options(durable=False)
        self._reads = _GatheredReads(engine) if gather_reads else None
        self._waiting = 0

    @classmethod
    def open(cls, url: str) -> Database:
        """Open the database at `url`; an SQLite file that is missing is made (0600, in a 0700 folder)."""
        parsed = parse_database_url(url)
        if parsed.drivername.startswith("sqlite"):
            return cls(_sqlite_engine(parsed), writers=1, gather_reads=True)
        return cls(_postgresql_engine(parsed), writers=POSTGRESQL_CONNECTIONS, gather_reads=False)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that only reads, and return what it returns."""
        return await self._run(self.engine, work, self._reads)

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in one transaction; it is durable when this returns, and undone when `work` raises.

        With `durable` false nobody waits for the disk: what was committed survives the end of any process, but not
        the end of the machine within the same second.
        """
        return await self._run(self._write_engine if durable else self._quick_engine, work, None)

    async def close(self) -> None:
        """Finish what runs, then close every connection."""
        if self._reads is not None:
            await self._reads.close()
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        await asyncio.to_thread(self.engine.dispose)

    async def _run(self, engine: Engine, work: Callable[[Connection], T], gathered: _GatheredReads | None) -> T:
        if self._waiting >= MAX_WAITING:
            raise DatabaseUnavailable("The database is busy.")
        self._waiting += 1
        try:
            if gathered is not None:
                return await gathered.submit(work)
            return await asyncio.get_running_loop().run_in_executor(self._threads, _transaction, engine, work)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", cause=str(error.__cause__))
            raise
        finally:
            self._waiting -= 1


class _GatheredReads:
    """Reads of an SQLite file: what arrives while one transaction reads is answered together by the next.

    Most of what a small read costs is the hop to the thread and the transaction around it; under load, shared, a read
    costs a quarter. Alone it waits for nobody. All but `_read_together` runs on the loop's thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database-read")
        self._arrived: list[tuple[Callable[[Connection], Any], asyncio.Future[Any]]] = []
        self._reading: asyncio.Future[list[Any]] | None = None

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """What will be the result of `work`."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._arrived.append((work, future))
        if self._reading is None:
            self._read_next()
        return future

    async def close(self) -> None:
        """Answer everybody, then end the thread."""
        while self._reading is not None:
            await asyncio.wait([self._reading])
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    def _read_next(self) -> None:
        taken, self._arrived = self._arrived[:READS_TOGETHER], self._arrived[READS_TOGETHER:]
        works, futures = [work for work, _ in taken], [future for _, future in taken]
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(self._thread, _read_together, self._engine, works)
        self._reading.add_done_callback(lambda reading: self._deliver(futures, reading.result()))

    def _deliver(self, futures: list[asyncio.Future[Any]], outcomes: list[Any]) -> None:
        self._reading = None
        if self._arrived:
            self._read_next()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue  # whoever asked has gone
            if isinstance(outcome, _Failure):
                future.set_exception(outcome.error)
            else:
                future.set_result(outcome)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: Exception


def _read_together(engine: Engine, works: list[Callable[[Connection], Any]]) -> list[Any]:
    """The result of each of `works`, or its `_Failure`, from one transaction."""
    try:
        with engine.begin() as connection:
            return [_outcome(connection, work) for work in works]
    except Exception as error:  # noqa: BLE001 - handed on to everybody who waits for it
        return [_Failure(_named(error)) for _ in works]


def _outcome(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    try:
        return work(connection)
    except Exception as error:  # noqa: BLE001 - handed on to the one who waits for it
        return _Failure(_named(error))


def _transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (DBAPIError, PoolTimeout) as error:
        named = _named(error)
        if named is error:
            raise
        raise named from error


def _named(error: Exception) -> Exception:
    """`error` as what it is to a caller: DatabaseUnavailable when storage failed, itself otherwise."""
    # The first three are our own mistakes, not the storage's, and must be seen as such.
    if isinstance(error, IntegrityError | DataError | ProgrammingError):
        return error
    if isinstance(error, DBAPIError | PoolTimeout):
        unavailable = DatabaseUnavailable("The database is not available.")
        unavailable.__cause__ = error
        return unavailable
    return error


def _sqlite_engine(url: URL) -> Engine:
    make_private_file(Path(str(url.database)))
    # isolation_level None: the driver opens no transaction by itself; the "begin" event below does.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=SQLITE_CONNECTIONS,
        max_overflow=1,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": SQLITE_BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        _enter_wal(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        # FULL: a commit is on the disk before it is acknowledged. NORMAL: the next one that is will take it there.
        wanted = "FULL" if options.get("durable", True) else "NORMAL"
        if connection.info.get("synchronous") != wanted:
            connection.exec_driver_sql(f"PRAGMA synchronous = {wanted}")
            connection.info["synchronous"] = wanted
        # A writer takes the lock at once: an upgrade from read to write in the middle can only fail.
        connection.exec_driver_sql(options.get("begin", "BEGIN"))

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Changing the journal mode does not wait for other processes as a statement does, so waiting is done here.
    deadline = SQLITE_BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or deadline <= 0:
                raise
            deadline -= 0.05
            time.sleep(0.05)


def _postgresql_engine(url: URL) -> Engine:
    options: dict[str, Any] = {
        "connect_timeout": POSTGRESQL_CONNECT_SECONDS,
        "options": f"-c statement_timeout={POSTGRESQL_STATEMENT_MILLISECONDS}"
        f" -c lock_timeout={POSTGRESQL_STATEMENT_MILLISECONDS}"
        " -c idle_in_transaction_session_timeout=30000 -c timezone=UTC",
    }
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_timeout=POSTGRESQL_CONNECT_SECONDS,
        connect_args=options,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("durable", True):
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    return engine


def insert_unless_taken(connection: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert one row; False, and nothing stored, when a unique value of it is taken.

    A concurrent writer of the same value is waited for. Raises nothing for what is taken, so a transaction goes on.
    """
    statement = _insert_unless_taken(table, connection.dialect.name)
    return connection.execute(statement, dict(values)).one_or_none() is not None


@lru_cache(maxsize=64)
def _insert_unless_taken(table: Table, dialect: str) -> Executable:
    # Both dialects spell it alike but have a class each; only the one in use is imported, the other costs 2 MB.
    insert = import_module(f"sqlalchemy.dialects.{dialect}").insert
    statement: Executable = insert(table).on_conflict_do_nothing().returning(*table.primary_key)
    return statement
