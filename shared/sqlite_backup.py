"""An embedded database as one file: a backup while its service runs, and a restore while it does not.

What a service adds is by which tables its database is known. SQLite's online backup copies pages, so whatever is sealed
or hashed in the database is so in the backup.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.database import parse_database_url
from shared.private_files import make_private_file, sync_folder

BUSY_MILLISECONDS = 200
"""How long a restore waits for somebody else's lock: a running service never lets go of its own."""


class BackupRefused(Exception):
    """Nothing was backed up or restored; the text says why, for people."""


class NotEmbedded(BackupRefused):
    """The database is a server's, which has programs of its own for this."""

    def __init__(self) -> None:
        super().__init__("this is for the embedded database; for PostgreSQL use pg_dump and pg_restore")


@dataclass(frozen=True, slots=True)
class EmbeddedDatabase:
    """The file of one service's database. `tables` are those that every database of the service has."""

    path: Path
    service: str
    tables: frozenset[str]

    @classmethod
    def at(cls, url: str, *, service: str, tables: frozenset[str]) -> EmbeddedDatabase:
        """The one that a database URL names; NotEmbedded when that is no file."""
        parsed = parse_database_url(url)
        if not parsed.drivername.startswith("sqlite") or parsed.database is None:
            raise NotEmbedded
        return cls(Path(parsed.database), service, tables)

    def backup(self, file: Path) -> int:
        """Write the database, as it is at one instant, to the new private file `file`; return its size in bytes."""
        if not self.path.exists():
            raise BackupRefused(f"there is no database at {self.path}")
        _refuse_existing(file)
        draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        try:
            make_private_file(draft)
            with _opened(self.path, read_only=True) as source, _opened(draft) as target:
                # In one step: with several it begins anew after each write of the service, and may never end. In WAL
                # mode the service writes on meanwhile.
                source.backup(target)
            with _opened(draft) as written:
                # One file, without a log beside it.
                written.execute("PRAGMA journal_mode = DELETE")
                self._check(written, self.path)
            with draft.open("rb") as content:
                os.fsync(content.fileno())
            _refuse_existing(file)
            draft.rename(file)
            sync_folder(file.parent)
            return file.stat().st_size
        except (OSError, sqlite3.Error) as error:
            raise BackupRefused(f"the backup failed: {error}") from error
        finally:
            draft.unlink(missing_ok=True)

    def restore(self, file: Path) -> None:
        """Put the backup in `file` in the place of the database, all of it or nothing; the service must be stopped."""
        if not file.exists():
            raise BackupRefused(f"there is no backup at {file}")
        try:
            with _opened(file, read_only=True) as source:
                self._check(source, file)
                make_private_file(self.path)
                with _opened(self.path) as target:
                    self._claim(target)
                    # One transaction of the target: whoever is interrupted here has the former database.
                    source.backup(target)
        except (OSError, sqlite3.Error) as error:
            raise BackupRefused(f"the restore failed, the former database stands: {error}") from error

    def _check(self, connection: sqlite3.Connection, file: Path) -> None:
        try:
            is_sound = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        except sqlite3.DatabaseError as error:
            if _code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            is_sound = False
        if not is_sound:
            raise BackupRefused(f"{file} is damaged")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= self.tables:
            raise BackupRefused(f"{file} is not a backup of the {self.service}")

    def _claim(self, target: sqlite3.Connection) -> None:
        """Be alone with the database until the connection is closed."""
        target.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        # Without this a service could start between here and the copy.
        target.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            # Leaving WAL needs to be alone; a running service keeps its database open.
            target.execute("PRAGMA journal_mode = DELETE").fetchone()
            target.execute("BEGIN EXCLUSIVE")
            target.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            code = _code(error)
            if code == sqlite3.SQLITE_BUSY:
                raise BackupRefused("the database is in use: stop the service first") from error
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise BackupRefused(
                    f"{self.path} is damaged: move it away, with the -wal and -shm beside it, then restore again"
                ) from error
            raise


@contextlib.contextmanager
def _opened(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    uri = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise BackupRefused(f"{file} exists; a backup is never overwritten")
