"""One service's own database: opened by its URL, read and written in transactions that cost one hop to a thread.

SQLAlchemy Core on SQLite or PostgreSQL. A piece of work is a plain function of a `Connection`; it runs whole,
as one transaction, on a worker thread. (A hop costs about 0.1 ms, so a driver that hops for each statement
costs several times as much.) The transactions are `shared.transactions`', migrations `shared.migrations`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, ProgrammingError

from shared import postgresql_engine, sqlite_engine
from shared.joint_work import JointLook
from shared.lane import Lane, Overloaded
from shared.transactions import READS_TOGETHER, WRITES_TOGETHER, Access, DatabaseUnavailable, Piece, Transactions

T = TypeVar("T")

log = structlog.get_logger(__name__)


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
            engine = sqlite_engine.open_engine(parsed)
            return cls(engine, _sqlite_lanes(engine))
        engine = postgresql_engine.open_engine(parsed)
        return cls(engine, _postgresql_lanes(engine))

    async def read(self, work: Callable[[Connection], T], *, vital: bool = False) -> T:
        """Run `work` in a transaction that only reads, and return what it returns.

        With `vital` it waits behind no other read: for the few small ones that the whole service hangs on.
        """
        lane = self._lanes.vital if vital else self._lanes.reads
        result: T = await _run(lane, Piece(work, Access.READ))
        return result

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in a transaction; it is durable when this returns, and undone when `work` raises.

        With `durable` false nobody waits for the disk: what was committed survives the end of any process, but not
        the end of the machine within the same second.
        """
        access = Access.WRITE if durable else Access.QUICK_WRITE
        result: T = await _run(self._lanes.writes, Piece(work, access))
        return result

    async def close(self) -> None:
        """Finish what runs, then close every connection."""
        for lane in {self._lanes.reads, self._lanes.vital, self._lanes.writes}:
            await lane.close()
        await asyncio.to_thread(self.engine.dispose)


class DatabaseReadiness:
    """Ready while the database, once it is migrated, can be read: a condition of being able to serve
    (`shared.web.Readiness`)."""

    name = "database"

    def __init__(self, database: Database) -> None:
        self._database = database
        # One for all who ask meanwhile: a crowd must not make it look as if the database failed.
        self._look = JointLook(self._answers, "database readiness")

    async def report(self) -> tuple[bool, Mapping[str, object]]:
        return await self._look.take(), {}

    async def _answers(self) -> bool:
        try:
            await self._database.read(_read_revision, vital=True)
        except (DatabaseUnavailable, ProgrammingError):  # the latter from PostgreSQL, where the schema is gone
            return False
        return True


def _read_revision(connection: Connection) -> None:
    # A table that every service has; SQLite answers what names no table without a look at the file.
    connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()


@dataclass(frozen=True, slots=True)
class _Lanes:
    reads: Lane[Piece]
    vital: Lane[Piece]
    writes: Lane[Piece]


def _sqlite_lanes(engine: Engine) -> _Lanes:
    """One thread that writes, because SQLite has one writer; beside it those that read, in WAL mode without waiting."""
    transactions = Transactions(engine)
    return _Lanes(
        reads=Lane("database-read", transactions.read_together, together=READS_TOGETHER),
        vital=Lane("database-vital", transactions.read_together, together=READS_TOGETHER),
        writes=Lane("database-write", transactions.write_together, together=WRITES_TOGETHER),
    )


def _postgresql_lanes(engine: Engine) -> _Lanes:
    """Transactions side by side: the server itself gathers their commits."""
    transactions = Transactions(engine)
    shared = Lane("database", transactions.each_alone, threads=postgresql_engine.CONNECTIONS - 1)
    return _Lanes(reads=shared, vital=Lane("database-vital", transactions.each_alone), writes=shared)


async def _run(lane: Lane[Piece], piece: Piece) -> Any:
    try:
        return await lane.run(piece)
    except Overloaded:
        raise DatabaseUnavailable("The database is busy.") from None
    except DatabaseUnavailable as error:
        log.error("database_unavailable", cause=str(error.__cause__))
        raise
