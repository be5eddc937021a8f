"""`backup` and `restore`: the embedded database as one file. The master key is not in it: keep that apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from auth_service.commands.console import EXIT_USAGE, fail, load_settings
from shared.sqlite_backup import BackupRefused, EmbeddedDatabase, NotEmbedded

TABLES = frozenset({"accounts", "sessions", "signing_keys", "security_events", "alembic_version"})


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the embedded database to FILE, which must not exist; the service may be running."""
    with _embedded_database() as database:
        size = database.backup(file)
    click.echo(f"{file}: {size:,} bytes. The master key is not in it; keep a copy of that elsewhere.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.confirmation_option(prompt="What the database holds now is replaced. Restore?")
def restore(file: Path) -> None:
    """Put the backup in FILE in the place of the embedded database; the service must be stopped."""
    with _embedded_database() as database:
        database.restore(file)
    click.echo(f"{database.path} is the backup now. It needs the master key it was made under.")


@contextlib.contextmanager
def _embedded_database() -> Iterator[EmbeddedDatabase]:
    """The service's database; what is refused in the block is told in a line."""
    url = load_settings().database_url.reveal()
    try:
        yield EmbeddedDatabase.at(url, service="auth service", tables=TABLES)
    except NotEmbedded as error:
        fail(str(error), EXIT_USAGE)
    except BackupRefused as error:
        fail(str(error))
