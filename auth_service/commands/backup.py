"""`backup` and `restore`: the embedded database as one file.

A backup is consistent while the service runs (SQLite's online backup). The master key is not in it: keep that apart.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click

from auth_service.commands.console import EXIT_USAGE, fail, load_settings
from shared.database import parse_database_url
from shared.private_files import make_private_file

PAGES_AT_A_TIME = 1_000
"""Between two steps of this many pages the service gets to write."""
REQUIRED_TABLES = {"accounts", "sessions", "signing_keys", "security_events", "alembic_version"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the embedded database to FILE, which must not exist; the service may be running."""
    database = _embedded_database()
    if not database.exists():
        fail(f"there is no database at {database}")
    if file.exists():
        fail(f"{file} exists; a backup is never overwritten")
    draft = file.with_name(f".{file.name}.part")
    try:
        make_private_file(draft)
        with _opened(database, read_only=True) as source, _opened(draft) as target:
            source.backup(target, pages=PAGES_AT_A_TIME)
        with _opened(draft) as written:
            # One file, without a log beside it.
            written.execute("PRAGMA journal_mode = DELETE")
            _check(written, draft)
        with draft.open("rb") as content:
            os.fsync(content.fileno())
        draft.rename(file)
    except (OSError, sqlite3.Error) as error:
        fail(f"the backup failed: {error}")
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"{file}: {file.stat().st_size:,} bytes. The master key is not in it; keep a copy of that elsewhere.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.confirmation_option(prompt="What the database holds now is replaced. Restore?")
def restore(file: Path) -> None:
    """Put the backup in FILE in the place of the embedded database; the service must be stopped."""
    database = _embedded_database()
    try:
        with _opened(file, read_only=True) as source:
            _check(source, file)
            make_private_file(database)
            with _opened(database) as target:
                _refuse_while_running(target)
                # One transaction of the target: whoever is interrupted here has the former database.
                source.backup(target)
    except (OSError, sqlite3.Error) as error:
        fail(f"the restore failed, the former database stands: {error}")
    click.echo(f"{database} is the backup now. It needs the master key it was made under.")


def _embedded_database() -> Path:
    url = parse_database_url(load_settings().database_url.reveal())
    if not url.drivername.startswith("sqlite") or url.database is None:
        fail("this is for the embedded database; for PostgreSQL use pg_dump and pg_restore", EXIT_USAGE)
    return Path(url.database)


@contextlib.contextmanager
def _opened(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    mode = "ro" if read_only else "rwc"
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)) as connection:
        yield connection


def _check(connection: sqlite3.Connection, file: Path) -> None:
    if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
        fail(f"{file} is damaged")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables >= REQUIRED_TABLES:
        fail(f"{file} is not a backup of the auth service")


def _refuse_while_running(target: sqlite3.Connection) -> None:
    # Leaving WAL needs to be alone with the database; a running service keeps it open.
    target.execute("PRAGMA busy_timeout = 200")
    try:
        target.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError:
        fail("the database is in use: stop the service first")
