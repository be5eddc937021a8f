"""Pieces of work and the transactions around them, as the threads of a lane run them.

A piece is a plain function of a `Connection`. Pieces may share a transaction and its commit; each is still told what
came of it alone, and a failure of the storage as `DatabaseUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import Unavailable
from shared.lane import Failure
from shared.sqlite_engine import in_transaction

READS_TOGETHER = 32
"""How many reads one transaction may answer: enough to share its cost, few enough that none waits long for it."""
WRITES_TOGETHER = 64
WRITING_SECONDS = 0.02
"""How much one commit may store, in pieces of work and in time: meanwhile no other process can write."""


class DatabaseUnavailable(Unavailable):
    """Storage failed: locked, full, read-only, gone, or too much waits for it. The cause is chained."""


class Access(Enum):
    """What a piece of work needs of its transaction; the values are the engine's options for that."""

    READ = MappingProxyType({"begin": "BEGIN", "durable": True})
    WRITE = MappingProxyType({"begin": "BEGIN IMMEDIATE", "durable": True})
    QUICK_WRITE = MappingProxyType({"begin": "BEGIN IMMEDIATE", "durable": False})


@dataclass(frozen=True, slots=True)
class Piece:
    """Work, and what it needs."""

    work: Callable[[Connection], Any]
    access: Access


class Transactions:
    """What a lane carries its pieces with: the outcome of each, a result or a `Failure`. Nothing here raises."""

    def __init__(self, engine: Engine) -> None:
        self._engines = {access: engine.execution_options(**access.value) for access in Access}

    def each_alone(self, pieces: Sequence[Piece]) -> list[Any]:
        """A transaction for each piece."""
        return [self._alone(piece) for piece in pieces]

    def read_together(self, pieces: Sequence[Piece]) -> list[Any]:
        """One transaction for all."""
        try:
            with self._engines[Access.READ].begin() as connection:
                return [_outcome(connection, piece) for piece in pieces]
        except Exception as error:  # noqa: BLE001 - handed on to everybody who waits for it
            return [Failure(_named(error)) for _ in pieces]

    def write_together(self, pieces: Sequence[Piece]) -> list[Any]:
        """One transaction and one commit for all, as far as WRITING_SECONDS reach; what fails undoes only itself.

        Where the commit fails nothing of it is stored, so nobody is told anything else, whatever their piece came to.
        Only on SQLite.
        """
        if len(pieces) == 1:
            return [self._alone(pieces[0])]
        access = Access.WRITE if any(piece.access is Access.WRITE for piece in pieces) else Access.QUICK_WRITE
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

    def _alone(self, piece: Piece) -> Any:
        try:
            with self._engines[piece.access].begin() as connection:
                return piece.work(connection)
        except Exception as error:  # noqa: BLE001 - handed on to the one who waits for it
            return Failure(_named(error))


def _apart(connection: Connection, piece: Piece) -> Any:
    """The outcome of a piece of work; one that fails leaves nothing behind."""
    connection.exec_driver_sql("SAVEPOINT piece")
    outcome = _outcome(connection, piece)
    if isinstance(outcome, Failure):
        if not in_transaction(connection):
            # What came before this piece is undone as well: the whole transaction has failed.
            raise outcome.error.__cause__ or outcome.error
        connection.exec_driver_sql("ROLLBACK TO piece")
    connection.exec_driver_sql("RELEASE piece")
    return outcome


def _outcome(connection: Connection, piece: Piece) -> Any:
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
