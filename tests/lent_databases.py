"""PostgreSQL databases that are filled once and lent to one test after another, each time as if they were new.

Making one takes longer than most tests, and putting the schema into it as long again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from shared.database import Database
from shared.migrations import migrate
from tests.postgresql import PostgreSQL

_LENDERS = itertools.count(1)
END_MILLISECONDS = 10_000
"""How long a connection that a test has left may take to end."""

_SHAPE = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
_SEQUENCES = "SELECT sequencename, start_value, last_value FROM pg_sequences WHERE schemaname = 'public'"


def bring_schema(migrations: Path, url: str) -> None:
    """Bring a database to the newest schema."""
    database = Database.open(url)
    migrate(database.engine, migrations)
    # Closing the last connection writes SQLite's log into the file.
    database.engine.dispose()


@dataclass(frozen=True, slots=True)
class _Content:
    """Columns, rows and sequences of a database."""

    shape: list[tuple[object, ...]]
    rows: dict[str, bytes]
    sequences: list[tuple[str, int, int | None]]

    @classmethod
    def of(cls, connection: psycopg.Connection) -> _Content:
        shape = connection.execute(_SHAPE).fetchall()
        rows = {}
        for name in sorted({str(table) for table, *_ in shape}):
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as copy:
                rows[name] = b"".join(copy)
        return cls(shape, rows, connection.execute(_SEQUENCES).fetchall())

    def restore(self, connection: psycopg.Connection) -> bool:
        """Bring a database back to this; False when its tables are not these any more."""
        if connection.execute(_SHAPE).fetchall() != self.shape:
            return False
        # Foreign keys are not looked at meanwhile, so the order of the tables does not matter.
        connection.execute("SET session_replication_role = replica")
        for name, rows in self.rows.items():
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
            with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy:
                copy.write(rows)
        for sequence, start, last in self.sequences:
            setting = (sequence, start if last is None else last, last is not None)
            connection.execute("SELECT setval(quote_ident(%s)::regclass, %s, %s)", setting)
        return True


class LentDatabases:
    """Copies of one database on `server`, called `name`, that `fill` has put its content into."""

    def __init__(self, server: PostgreSQL, name: str, fill: Callable[[str], None]) -> None:
        # Whoever else lends databases of this name on the same server has others.
        name = f"{name}_{next(_LENDERS)}"
        self._server = server
        self._name = name
        self._numbers = itertools.count(1)
        self._spare: list[str] = []
        url = server.create_database(name)
        fill(url)
        with self._connect(name) as connection:
            self._content = _Content.of(connection)

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The URL of one that nobody else uses, with the content that all began with."""
        if self._spare:
            name = self._spare.pop()
        else:
            name = f"{self._name}_{next(self._numbers)}"
            self._server.create_database(name, template=self._name)
        yield self._server.url(name)
        with self._connect(name) as connection:
            others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            connection.execute(f"SELECT pg_terminate_backend(pid, {END_MILLISECONDS}) {others}")
            restored = self._content.restore(connection)
        if restored:
            self._spare.append(name)
        else:
            self._server.drop_database(name)

    def _connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=self._server.port, user="signet", dbname=name)
