"""The command line: `serve` runs the service, the other commands are for its operator.

Exit codes: 0 done, 1 it failed, 2 the settings or the command line are wrong. No secret is ever an argument.
"""

from __future__ import annotations

import os
import sys

import click

from auth_service.keys.sealing import MasterKeyUnusable
from auth_service.settings import AuthSettings
from shared.database import DatabaseUnavailable
from shared.settings import SettingsError


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """The auth service. Without a command it serves, configured by AUTH_* (see .env.example)."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@main.command()
def serve() -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C; requests in flight are finished."""
    # Imported here: the other commands need no web server.
    from auth_service.app import open_listeners
    from shared.logging import configure_logging
    from shared.serving import run

    settings = load_settings()
    configure_logging("auth", level=settings.log_level)
    ready_line = f"auth service ready on http://localhost:{settings.port} (issuer {settings.issuer})"
    try:
        sys.exit(run(lambda: open_listeners(settings), ready_line=ready_line))
    except (MasterKeyUnusable, DatabaseUnavailable) as error:
        click.echo(f"cannot start: {error}", err=True)
        sys.exit(1)


def load_settings() -> AuthSettings:
    """The settings from the environment; a problem ends the command with exit code 2."""
    try:
        return AuthSettings.load(os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
