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

SQLITE_READERS = 2
"""Threads that read beside the one that writes. SQLite has one writer; readers do not block it (WAL)."""
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

    def __init__(self, engine: Engine, *, readers: int, writers: int) -> None:
        self.engine = engine
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="database-write")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="database-read") if readers else self._writers
        self._write_engine = engine.execution_options(begin="BEGIN IMMEDIATE")
        self._waiting = 0

    @classmethod
    def open(cls, url: str) -> Database:
        """Open the database at `url`; an SQLite file that is missing is made (0600, in a 0700 folder)."""
        parsed = parse_database_url(url)
        if parsed.drivername.startswith("sqlite"):
            return cls(_sqlite_engine(parsed), readers=SQLITE_READERS, writers=1)
        return cls(_postgresql_engine(parsed), readers=0, writers=POSTGRESQL_CONNECTIONS)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that only reads, and return what it returns."""
        return await self._run(self._readers, self.engine, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; it is durable when this returns, and undone when `work` raises."""
        return await self._run(self._writers, self._write_engine, work)

    async def close(self) -> None:
        """Finish what runs, then close every connection."""
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.engine.dispose()

    async def _run(self, pool: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise DatabaseUnavailable("The database is busy.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _transaction, engine, work)
        except DatabaseUnavailable as error:
            log.error("database_unavailable", cause=str(error.__cause__))
            raise
        finally:
            self._waiting -= 1


def _transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (IntegrityError, DataError, ProgrammingError):
        raise  # our own mistake, not the storage's: it must be seen as one
    except (DBAPIError, PoolTimeout) as error:
        raise DatabaseUnavailable("The database is not available.") from error


def _sqlite_engine(url: URL) -> Engine:
    make_private_file(Path(str(url.database)))
    # isolation_level None: the driver opens no transaction by itself; the "begin" event below does.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=SQLITE_READERS + 1,
        max_overflow=1,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": SQLITE_BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        _enter_wal(connection)
        # FULL: a commit is on the disk before it is acknowledged.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: an upgrade from read to write in the middle can only fail.
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

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
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=POSTGRESQL_CONNECTIONS,
        max_overflow=0,
        pool_timeout=POSTGRESQL_CONNECT_SECONDS,
        connect_args=options,
    )


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
