"""One service's own database: the engine, and transactions that cost one hop to a thread.

SQLAlchemy Core on SQLite or PostgreSQL. A piece of work is a plain function of a `Connection`; it runs whole,
as one transaction, on a worker thread. (A hop costs about 0.1 ms, so a driver that hops for each statement
costs several times as much.) Migrations are in `shared.migrations`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, TypeVar, cast

import structlog
from sqlalchemy import URL, Connection, Engine, Executable, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import Unavailable
from shared.lane import Failure, Lane, Overloaded
from shared.private_files import make_private_file

T = TypeVar("T")

log = structlog.get_logger(__name__)

SQLITE_CONNECTIONS = 3
"""One for each lane."""
READS_TOGETHER = 32
"""How many reads one transaction may answer: enough to share its cost, few enough that none waits long for it."""
WRITES_TOGETHER = 64
WRITING_SECONDS = 0.02
"""How much one commit may store, in pieces of work and in time: meanwhile no other process can write."""
SQLITE_BUSY_SECONDS = 5.0
"""How long a statement waits for another process's lock before it counts as a failure."""
SQLITE_LOOK_SECONDS = 0.001
"""How often a writer looks whether that lock is free."""
POSTGRESQL_CONNECTIONS = 8
POSTGRESQL_CONNECT_SECONDS = 3
POSTGRESQL_STATEMENT_MILLISECONDS = 5_000


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
    """An engine, and the lanes on which work gets to it.

    `read` and `write` raise `DatabaseUnavailable` when storage failed, and whatever the work raised otherwise.
    """

    def __init__(self, engine: Engine, lanes: _Lanes) -> None:
        self.engine = engine
        self._lanes = lanes

    @classmethod
    def open(cls, url: str) -> Database:
        """Open the database at `url`; an SQLite file that is missing is made (0600, in a 0700 folder)."""
        parsed = parse_database_url(url)
        if parsed.drivername.startswith("sqlite"):
            engine = _sqlite_engine(parsed)
            return cls(engine, _sqlite_lanes(engine))
        engine = _postgresql_engine(parsed)
        return cls(engine, _postgresql_lanes(engine))

    async def read(self, work: Callable[[Connection], T], *, vital: bool = False) -> T:
        """Run `work` in a transaction that only reads, and return what it returns.

        With `vital` it waits behind no other read: for the few small ones that the whole service hangs on.
        """
        lane = self._lanes.vital if vital else self._lanes.reads
        result: T = await _run(lane, _Piece(work, _Access.READ))
        return result

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction; it is durable when this returns, and undone when `work` raises.

        With `durable` false nobody waits for the disk: what was committed survives the end of any process, but not
        the end of the machine within the same second.
        """
        access = _Access.WRITE if durable else _Access.QUICK_WRITE
        result: T = await _run(self._lanes.writes, _Piece(work, access))
        return result

    async def close(self) -> None:
        """Finish what runs, then close every connection."""
        for lane in {self._lanes.reads, self._lanes.vital, self._lanes.writes}:
            await lane.close()
        await asyncio.to_thread(self.engine.dispose)


class _Access(Enum):
    """What a piece of work needs of its transaction; the values are the engine's options for that."""

    READ = MappingProxyType({"begin": "BEGIN", "durable": True})
    WRITE = MappingProxyType({"begin": "BEGIN IMMEDIATE", "durable": True})
    QUICK_WRITE = MappingProxyType({"begin": "BEGIN IMMEDIATE", "durable": False})


@dataclass(frozen=True, slots=True)
class _Piece:
    work: Callable[[Connection], Any]
    access: _Access


@dataclass(frozen=True, slots=True)
class _Lanes:
    reads: Lane[_Piece]
    vital: Lane[_Piece]
    writes: Lane[_Piece]


def _sqlite_lanes(engine: Engine) -> _Lanes:
    """One thread that writes, because SQLite has one writer; beside it those that read, in WAL mode without waiting."""
    transactions = _Transactions(engine)
    return _Lanes(
        reads=Lane("database-read", transactions.read_together, together=READS_TOGETHER),
        vital=Lane("database-vital", transactions.read_together, together=READS_TOGETHER),
        writes=Lane("database-write", transactions.write_together, together=WRITES_TOGETHER),
    )


def _postgresql_lanes(engine: Engine) -> _Lanes:
    """Transactions side by side: the server itself gathers their commits."""
    transactions = _Transactions(engine)
    shared = Lane("database", transactions.each_alone, threads=POSTGRESQL_CONNECTIONS - 1)
    return _Lanes(reads=shared, vital=Lane("database-vital", transactions.each_alone), writes=shared)


async def _run(lane: Lane[_Piece], piece: _Piece) -> Any:
    try:
        return await lane.run(piece)
    except Overloaded:
        raise DatabaseUnavailable("The database is busy.") from None
    except DatabaseUnavailable as error:
        log.error("database_unavailable", cause=str(error.__cause__))
        raise


class _Transactions:
    """What the lanes' threads do: pieces of work, and the transactions around them. Nothing here raises."""

    def __init__(self, engine: Engine) -> None:
        self._engines = {access: engine.execution_options(**access.value) for access in _Access}

    def each_alone(self, pieces: Sequence[_Piece]) -> list[Any]:
        """A transaction for each piece."""
        return [self._alone(piece) for piece in pieces]

    def read_together(self, pieces: Sequence[_Piece]) -> list[Any]:
        """One transaction for all."""
        try:
            with self._engines[_Access.READ].begin() as connection:
                return [_outcome(connection, piece) for piece in pieces]
        except Exception as error:  # noqa: BLE001 - handed on to everybody who waits for it
            return [Failure(_named(error)) for _ in pieces]

    def write_together(self, pieces: Sequence[_Piece]) -> list[Any]:
        """One transaction and one commit for all, as far as WRITING_SECONDS reach; what fails undoes only itself.

        Where the commit fails nothing of it is stored, so nobody is told anything else, whatever their piece came to.
        """
        if len(pieces) == 1:
            return [self._alone(pieces[0])]
        access = _Access.WRITE if any(piece.access is _Access.WRITE for piece in pieces) else _Access.QUICK_WRITE
        until = perf_counter() + WRITING_SECONDS
        outcomes: list[Any] = []
        try:
            with self._engines[access].begin() as connection:
                for piece in pieces:
                    outcomes.append(_apart(connection, piece))
                    if perf_counter() > until:
                        break  # other processes want to write, too
        except Exception as error:  # noqa: BLE001 - handed on to everybody who waits for it
            return [Failure(_unavailable(error)) for _ in pieces]
        return outcomes

    def _alone(self, piece: _Piece) -> Any:
        try:
            with self._engines[piece.access].begin() as connection:
                return piece.work(connection)
        except Exception as error:  # noqa: BLE001 - handed on to the one who waits for it
            return Failure(_named(error))


def _apart(connection: Connection, piece: _Piece) -> Any:
    """The outcome of a piece of work; one that fails leaves nothing behind."""
    connection.exec_driver_sql("SAVEPOINT piece")
    outcome = _outcome(connection, piece)
    if isinstance(outcome, Failure):
        if not _sqlite(connection).in_transaction:
            # Some failures, such as a full disk, may make SQLite undo the whole transaction by itself.
            raise outcome.error.__cause__ or outcome.error
        connection.exec_driver_sql("ROLLBACK TO piece")
    connection.exec_driver_sql("RELEASE piece")
    return outcome


def _sqlite(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _outcome(connection: Connection, piece: _Piece) -> Any:
    try:
        return piece.work(connection)
    except Exception as error:  # noqa: BLE001 - handed on to the one who waits for it
        return Failure(_named(error))


def _named(error: Exception) -> Exception:
    """`error` as what it is to a caller: DatabaseUnavailable when storage failed, itself otherwise."""
    # The first three are our own mistakes, not the storage's, and must be seen as such.
    if isinstance(error, IntegrityError | DataError | ProgrammingError):
        return error
    return _unavailable(error) if isinstance(error, DBAPIError | PoolTimeout) else error


def _unavailable(cause: Exception) -> DatabaseUnavailable:
    unavailable = DatabaseUnavailable("The database is not available.")
    unavailable.__cause__ = cause
    return unavailable


def _sqlite_engine(url: URL) -> Engine:
    make_private_file(Path(str(url.database)))
    # isolation_level None: the driver opens no transaction by itself; the "begin" event below does.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=SQLITE_CONNECTIONS,
        max_overflow=1,
        pool_use_lifo=True,  # what one connection has cached is used again
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
        begin = options.get("begin", "BEGIN")
        if begin == "BEGIN":
            connection.exec_driver_sql(begin)
        else:
            # A writer takes the lock at once: an upgrade from read to write in the middle can only fail.
            _take_lock(connection, begin)

    return engine


def _take_lock(connection: Connection, begin: str) -> None:
    # SQLite itself looks at a lock that is taken ever more seldom, every 0.1 s in the end: beside a process that pauses
    # for less than a millisecond between two transactions it could miss every pause.
    driver = _sqlite(connection)
    driver.execute("PRAGMA busy_timeout = 0")
    until = perf_counter() + SQLITE_BUSY_SECONDS
    try:
        while not _begins(connection, begin, is_last_try=perf_counter() > until):
            time.sleep(SQLITE_LOOK_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(SQLITE_BUSY_SECONDS * 1_000)}")


def _begins(connection: Connection, begin: str, *, is_last_try: bool) -> bool:
    try:
        connection.exec_driver_sql(begin)
    except OperationalError as error:
        if is_last_try or not _is_busy(error.orig):
            raise
        return False
    return True


def _is_busy(error: object) -> bool:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Changing the journal mode does not wait for other processes as a statement does, so waiting is done here.
    deadline = SQLITE_BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or deadline <= 0:
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
