"""Whether an SQLite file has changed: one number, for whoever keeps what was read from it.

`PRAGMA data_version` is read from memory that all connections to the file share, in a few microseconds and without the
disk, so it is the one thing that is asked of a database on the event loop's own thread. PostgreSQL has no such number.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Protocol

from shared.database import parse_database_url


class DatabaseVersion:
    """A connection of its own, on which nothing is ever written: only then does it see everybody's commits."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    @classmethod
    def open(cls, url: str) -> DatabaseVersion:
        """The version of the database at `url`, whose file exists."""
        parsed = parse_database_url(url)
        if not parsed.drivername.startswith("sqlite"):
            return cls(None)
        path = Path(str(parsed.database)).absolute()
        # It never waits: while the file is locked whole, nothing is known.
        uri = f"{path.as_uri()}?mode=rw"
        return cls(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False))

    def read(self) -> int | None:
        """The same number as before only when no commit came between; None when that cannot be told."""
        if self._connection is None:
            return None
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return None
        return version

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Version(Protocol):
    """Tells whether a database has changed; None when it cannot."""

    def read(self) -> int | None: ...


class VersionOfTheTurn:
    """The version, asked for once in each turn of the running event loop; a busy one answers many requests in a turn.

    Whatever runs in one turn was received, or woken, before that turn began. So nobody there can have heard of a commit
    that came after the asking, and need not see it.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._is_known = False
        self._known: int | None = None

    def read(self) -> int | None:
        """As `DatabaseVersion.read`."""
        if not self._is_known:
            # Before the asking: whoever is woken by a commit that comes after it then runs behind this.
            asyncio.get_running_loop().call_soon(self._forget)
            self._is_known, self._known = True, self._version.read()
        return self._known

    def _forget(self) -> None:
        self._is_known = False
