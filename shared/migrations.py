"""Bring a service's schema to its newest revision, under a lock, at start.

A service keeps its Alembic revisions as `migrations/versions/0001_title.py`, `0002_title.py`, ...; the number
is the revision. They are linear and forward only, and each is safe while the previous release still
runs. Two processes may start together: one migrates, the other waits and finds nothing to do.
"""

from __future__ import annotations

import re
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from shared.sqlite_engine import is_busy
from shared.transactions import DatabaseUnavailable

log = structlog.get_logger(__name__)

ADVISORY_LOCK = 0x5167_6E65_745F_0001
"""PostgreSQL's lock for migrations, one number for every process of one database."""
LOCK_TRIES = 24
"""How often SQLite's lock is tried for; each try waits `sqlite_engine.BUSY_SECONDS`, so this is two minutes."""


def migrate(engine: Engine, script_location: Path) -> None:
    """Upgrade the database behind `engine` to the newest revision in `script_location`/versions, once.

    `script_location` is an Alembic folder whose `env.py` is `run_revisions(target_metadata)`. DatabaseUnavailable
    when the database cannot be reached or stays locked; then nothing is changed.
    """
    newest = newest_revision(script_location)
    for last_try in (*[False] * (LOCK_TRIES - 1), True):
        try:
            _migrate(engine, script_location, newest)
        except (IntegrityError, DataError, ProgrammingError):
            raise  # a revision of ours is wrong
        except DBAPIError as error:
            if last_try or not is_busy(error.orig):
                raise DatabaseUnavailable("The database cannot be opened.") from error
        else:
            return


def is_migrated(engine: Engine, script_location: Path) -> bool:
    """Whether the database is at the newest revision, or beyond it; DatabaseUnavailable when it cannot be asked."""
    try:
        with engine.connect() as connection:
            return _is_current(connection, newest_revision(script_location))
    except DBAPIError as error:
        raise DatabaseUnavailable("The database cannot be opened.") from error


def _migrate(engine: Engine, script_location: Path, newest: str) -> None:
    with engine.connect() as connection:
        if _is_current(connection, newest):
            return
    # The whole upgrade is one transaction that holds the lock; SQLite's DDL is transactional too.
    with engine.execution_options(begin="BEGIN EXCLUSIVE").begin() as connection:
        if engine.dialect.name == "postgresql":
            # A migration may take its time, and whoever waits for it must.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        if not _is_current(connection, newest):
            _upgrade(connection, script_location)
            log.info("schema_migrated", revision=newest)


def run_revisions(target_metadata: MetaData) -> None:
    """What an `env.py` calls: run the revisions on the connection that `migrate` handed over."""
    from alembic import context

    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=target_metadata,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def newest_revision(script_location: Path) -> str:
    """The number of the newest revision file, four digits."""
    names = (path.name for path in (script_location / "versions").glob("*.py"))
    numbers = [match[1] for name in names if (match := re.fullmatch(r"(\d{4})_\w+\.py", name))]
    if not numbers:
        raise FileNotFoundError(f"no revisions in {script_location}")
    return max(numbers)


def _is_current(connection: Connection, newest: str) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if revision is None or revision < newest:
        return False
    if revision > newest:
        # A newer release has been here and its changes are safe for this one; going back is not refused.
        log.warning("schema_is_newer", revision=revision, known=newest)
    return True


def _upgrade(connection: Connection, script_location: Path) -> None:
    # Imported here: Alembic costs a tenth of a second and ten megabytes, and a start rarely needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
