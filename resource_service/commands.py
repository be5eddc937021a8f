"""The operator's commands: `backup` and `restore` of the embedded database, and `erase` of what one owner has.

None of them needs a web server. A command returns when it is done; what stops it ends the process with a line on
standard error.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NoReturn

from resource_service.settings import ResourceSettings
from resource_service.user_data.item import Owner, Quota
from resource_service.user_data.store import MIGRATIONS, Erased, ItemStore
from shared.clock import SystemClock
from shared.database import Database
from shared.database_version import DatabaseVersion
from shared.logging import configure_logging, redact_text
from shared.migrations import is_migrated
from shared.sqlite_backup import BackupRefused, EmbeddedDatabase, NotEmbedded
from shared.transactions import DatabaseUnavailable

EXIT_FAILED = 1
EXIT_USAGE = 2
TABLES = frozenset({"owners", "items", "alembic_version"})


def backup(settings: ResourceSettings, file: Path) -> None:
    """Write the embedded database to `file`, which must not exist; the service may be running."""
    try:
        size = _embedded_database(settings).backup(file)
    except BackupRefused as error:
        fail(str(error))
    print(f"{file}: {size:,} bytes")


def restore(settings: ResourceSettings, file: Path, *, confirmed: bool) -> None:
    """Put the backup in `file` in the place of the embedded database; the service must be stopped."""
    database = _embedded_database(settings)
    if not confirmed:
        _confirm("What the database holds now is replaced. Restore?")
    try:
        database.restore(file)
    except BackupRefused as error:
        fail(str(error))
    print(f"{database.path} is the backup now")


def erase(settings: ResourceSettings, owner: Owner, *, confirmed: bool) -> None:
    """Delete everything that `owner` has; the service may be running, and shows none of it any more."""
    whose = f"{owner.subject} at {owner.issuer}"
    if not confirmed:
        _confirm(f"Every item of {whose} goes for good. Erase them?")
    configure_logging("resource", level="warning")
    try:
        erased = asyncio.run(_erase(settings, owner))
    except DatabaseUnavailable as error:
        fail(
            f"failed, a part may be gone, so run it again: {error} {redact_text(_first_line(error.__cause__))}".strip()
        )
    if erased.items == 0:
        fail(f"there is nothing of {whose}")
    print(f"erased what belonged to {whose}: {_count(erased.items, 'item')}, {_count(erased.bytes, 'byte')}")


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with a message on standard error."""
    print(message, file=sys.stderr)
    sys.exit(code)


def _embedded_database(settings: ResourceSettings) -> EmbeddedDatabase:
    try:
        return EmbeddedDatabase.at(settings.database_url.reveal(), service="resource service", tables=TABLES)
    except NotEmbedded as error:
        fail(str(error), EXIT_USAGE)


async def _erase(settings: ResourceSettings, owner: Owner) -> Erased:
    file = settings.embedded_file
    if file is not None and not file.exists():  # opening it would make one
        fail(f"there is no database at {file}: the service has not been started with these settings")
    database = Database.open(settings.database_url.reveal())
    try:
        if not await asyncio.to_thread(is_migrated, database.engine, MIGRATIONS):
            fail("the database's schema is not this release's: start the service once to bring it there")
        # Nothing is read, so nothing is kept and no version is needed.
        store = ItemStore(database, DatabaseVersion(None), Quota(settings.max_items, settings.max_bytes), SystemClock())
        return await store.erase(owner)
    finally:
        await database.close()


def _confirm(question: str) -> None:
    """Ask on the terminal; anything but yes ends the command, and so does a terminal that is not there."""
    if not sys.stdin.isatty():
        fail("there is no terminal to ask on: give --yes to go on without being asked", EXIT_USAGE)
    try:
        answer = input(f"{question} [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        fail("nothing was changed")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _first_line(cause: BaseException | None) -> str:
    return "" if cause is None else str(cause).partition("\n")[0]
