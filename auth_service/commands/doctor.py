"""`doctor`: is this installation fit to run, and what to do where it is not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from auth_service.app import key_settings, master_keys
from auth_service.commands.console import EXIT_FAILED, json_option, load_settings
from auth_service.keys.sealing import MasterKeyUnusable
from auth_service.model.signing_key import KeyState
from auth_service.settings import AuthSettings
from auth_service.storage.storage import MIGRATIONS, SqlStorage
from shared.clock import Clock, SystemClock
from shared.database import Database
from shared.migrations import is_migrated
from shared.transactions import DatabaseUnavailable

MIN_FREE_BYTES = 100 * 1_048_576
OTHERS_MAY = 0o077
CLOCK_TOLERANCE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: whether it is well, what was seen, and what to do about it."""

    check: str
    ok: bool
    seen: str
    advice: str = ""


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check settings, files, database, keys and clock, and say what to do. Exit code 1 when something is wrong."""
    settings = load_settings()
    findings = [Finding("settings", True, f"issuer {settings.issuer}"), *_files(settings)]
    folder = settings.embedded_folder
    if folder is None or folder.exists():
        findings += asyncio.run(_stored(settings))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'BAD '} {finding.check}: {finding.seen}")
            if finding.advice:
                click.echo(f"     {finding.advice}")
    if not all(finding.ok for finding in findings):
        sys.exit(EXIT_FAILED)


def _files(settings: AuthSettings) -> list[Finding]:
    folder = settings.embedded_folder
    if folder is None:
        return []
    if not folder.exists():
        return [Finding("files", False, f"{folder} is not there", "start the service once: it makes what it needs")]
    findings = [_closed(path) for path in [folder, *sorted(folder.iterdir())]]
    free = shutil.disk_usage(folder).free
    advice = "" if free >= MIN_FREE_BYTES else "make room: a full disk answers 503 to every sign-in"
    return [*findings, Finding("disk", not advice, f"{free // 1_048_576} MiB free", advice)]


def _closed(path: Path) -> Finding:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & OTHERS_MAY:
        return Finding("permissions", False, f"{path} has mode {mode:04o}", f"run: chmod go= {path}")
    if status.st_uid != os.geteuid():
        return Finding("permissions", False, f"{path} belongs to another user", "run the service as its owner")
    return Finding("permissions", True, f"{path} has mode {mode:04o}")


async def _stored(settings: AuthSettings) -> list[Finding]:
    database = Database.open(settings.database_url.reveal())
    try:
        if not await asyncio.to_thread(is_migrated, database.engine, MIGRATIONS):
            return [Finding("schema", False, "not this release's", "start the service once: it migrates")]
        return [
            Finding("schema", True, "this release's"),
            await _integrity(database),
            await clock_finding(database, SystemClock()),
            await _keys(settings, SqlStorage(database)),
        ]
    except DatabaseUnavailable as error:
        return [Finding("database", False, f"it does not answer: {error.__cause__}", "look at AUTH_DATABASE_URL")]
    finally:
        await database.close()


async def _integrity(database: Database) -> Finding:
    if database.engine.dialect.name != "sqlite":
        return Finding("database", True, "PostgreSQL answers")
    verdict = await database.read(lambda connection: connection.exec_driver_sql("PRAGMA quick_check").scalar_one())
    advice = "" if verdict == "ok" else "restore a backup: python -m auth_service restore FILE"
    return Finding("database", verdict == "ok", f"SQLite's quick check says {verdict}", advice)


async def clock_finding(database: Database, clock: Clock) -> Finding:
    """This machine's clock beside the database server's.

    SQLite has none of its own: there it is the newest event, which can only show a clock that was set back.
    """
    has_clock = database.engine.dialect.name == "postgresql"
    statement = "SELECT extract(epoch FROM now())" if has_clock else "SELECT max(at) FROM security_events"
    theirs = await database.read(lambda connection: connection.exec_driver_sql(statement).scalar_one())
    ahead = 0.0 if theirs is None else clock.now() - float(theirs)
    if not has_clock:
        ahead = min(ahead, 0.0)
    if abs(ahead) > CLOCK_TOLERANCE_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        return Finding("clock", False, f"{abs(ahead):.0f} s {where} the database", "let NTP set this machine's clock")
    return Finding("clock", True, "as the database's" if has_clock else "not behind the database")


async def _keys(settings: AuthSettings, storage: SqlStorage) -> Finding:
    published = await storage.read(lambda records: records.signing_keys.published())
    active = next((key for key in published if key.state is KeyState.ACTIVE), None)
    if active is None:
        return Finding("keys", False, "no key signs", "start the service: it makes one")
    try:
        opener = master_keys(settings)
        for key in published:
            if key.sealed is not None:
                opener.open(key.kid, key.sealed)
    except MasterKeyUnusable as error:
        return Finding("keys", False, "a signing key cannot be opened", str(error))
    days = (SystemClock().now() - active.changed_at) / 86_400
    limit = key_settings(settings).rotation_seconds / 86_400
    if days > limit + 1:
        return Finding("keys", False, f"{active.kid} has signed for {days:.0f} days", "run: keys rotate")
    return Finding("keys", True, f"{len(published)} published, {active.kid} signs since {days:.1f} days")
