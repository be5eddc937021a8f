"""The command line: `serve` runs the service, the other commands are for its operator.

Exit codes: 0 done, 1 it failed, 2 the settings or the command line are wrong. No secret is ever an argument.
"""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS = {
    "serve": "auth_service.cli",
    "users": "auth_service.commands.users",
    "sessions": "auth_service.commands.sessions",
    "keys": "auth_service.commands.keys",
    "audit": "auth_service.commands.audit",
    "backup": "auth_service.commands.backup",
    "restore": "auth_service.commands.backup",
    "doctor": "auth_service.commands.doctor",
}
"""Each command and the module it stands in; a module is imported when its command is used."""


class _Commands(click.Group):
    """A group whose commands are imported one by one: serving needs none of the operator's."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        module = COMMANDS.get(name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """The auth service. Without a command it serves, configured by AUTH_* (see .env.example)."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@click.command()
def serve() -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C; requests in flight are finished."""
    from auth_service.app import open_listeners
    from auth_service.commands.console import fail, load_settings
    from auth_service.keys.sealing import MasterKeyUnusable
    from shared.logging import configure_logging
    from shared.serving import run
    from shared.transactions import DatabaseUnavailable

    settings = load_settings()
    configure_logging("auth", level=settings.log_level)
    ready_line = f"auth service ready on http://localhost:{settings.port} (issuer {settings.issuer})"
    try:
        sys.exit(run(lambda: open_listeners(settings), ready_line=ready_line))
    except (MasterKeyUnusable, DatabaseUnavailable) as error:
        fail(f"cannot start: {error}")
