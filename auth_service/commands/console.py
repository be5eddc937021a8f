"""What every command shares: the opened storage, the two forms of output, and how a failure is told."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import click

from auth_service.keys.sealing import MasterKeyUnusable
from auth_service.settings import AuthSettings
from auth_service.storage.storage import MIGRATIONS, SqlStorage
from shared.clock import Clock, SystemClock
from shared.database import Database
from shared.logging import configure_logging
from shared.migrations import is_migrated
from shared.settings import SettingsError
from shared.transactions import DatabaseUnavailable

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2

WITH_IDENTIFIER = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""The context settings of a command that takes an identifier: one in 64 key and session ids begins with a hyphen, and
such a one is no option."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with a message on standard error."""
    click.echo(message, err=True)
    sys.exit(code)


def load_settings() -> AuthSettings:
    """The settings from the environment; a problem ends the command with exit code 2."""
    try:
        return AuthSettings.load(os.environ)
    except SettingsError as error:
        fail(str(error), EXIT_USAGE)


@contextlib.asynccontextmanager
async def opened_storage(settings: AuthSettings) -> AsyncIterator[SqlStorage]:
    """The service's storage; a command does not migrate, so the schema must be this release's."""
    folder = settings.embedded_folder
    if folder is not None and not folder.exists():
        fail(f"there is no database in {folder}: the service has not been started with these settings")
    database = Database.open(settings.database_url.reveal())
    try:
        if not await asyncio.to_thread(is_migrated, database.engine, MIGRATIONS):
            fail("the database's schema is not this release's: start the service once to bring it there")
        yield SqlStorage(database)
    finally:
        await database.close()


def run(work: Callable[[AuthSettings, SqlStorage, Clock], Awaitable[T]]) -> T:
    """Do `work` on the opened storage; what fails is told in a line, without a traceback."""

    # What a command does stands in the audit trail; its output is for whoever called it.
    configure_logging("auth", level="warning")

    async def whole(settings: AuthSettings) -> T:
        async with opened_storage(settings) as storage:
            return await work(settings, storage, SystemClock())

    try:
        return asyncio.run(whole(load_settings()))
    except (MasterKeyUnusable, DatabaseUnavailable) as error:
        fail(f"failed: {error}")


def show(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print `rows`, which have the same members, as a table or as a JSON array."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("nothing")
        return
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in [names, *cells]) for column in range(len(names))]
    for line in [names, *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def instant(seconds: float | None) -> str | None:
    """An instant as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
