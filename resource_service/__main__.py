"""`python -m resource_service`: `serve` runs the service, the other commands are for its operator.

Exit codes: 0 done, 1 it failed, 2 the settings or the command line are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from resource_service.settings import ResourceSettings
from shared.settings import SettingsError


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command that `arguments` name, configured by `environ`; return the exit code."""
    given = _parse(arguments)
    try:
        settings = ResourceSettings.load(environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    code: int = given.run(settings, given)
    return code


def serve(settings: ResourceSettings, _given: argparse.Namespace) -> int:
    # Imported here, as in the others: no command needs what another one does, and help needs none of it.
    from resource_service.app import open_listeners
    from shared.logging import configure_logging
    from shared.serving import run

    configure_logging("resource", level=settings.log_level)
    issuers = ", ".join([settings.issuer, *(trusted.issuer for trusted in settings.trusted_issuers)])
    ready_line = f"resource service ready on http://localhost:{settings.port} (accepts tokens of {issuers})"
    return run(lambda: open_listeners(settings), ready_line=ready_line)


def check_settings(settings: ResourceSettings, _given: argparse.Namespace) -> int:
    for warning in settings.warnings():
        print(f"note: {warning}")
    print("the settings allow a start")
    return 0


def backup(settings: ResourceSettings, given: argparse.Namespace) -> int:
    from resource_service import commands

    commands.backup(settings, given.file)
    return 0


def restore(settings: ResourceSettings, given: argparse.Namespace) -> int:
    from resource_service import commands

    commands.restore(settings, given.file, confirmed=given.yes)
    return 0


def erase(settings: ResourceSettings, given: argparse.Namespace) -> int:
    from resource_service import commands
    from resource_service.user_data.item import Owner

    owner = Owner(settings.issuer if given.issuer is None else given.issuer, given.subject)
    commands.erase(settings, owner, confirmed=given.yes)
    return 0


COMMANDS = {
    serve: ("serve", "serve in the foreground until SIGTERM or Ctrl-C; requests in flight are finished (the default)"),
    check_settings: ("check-settings", "say whether the settings allow a start, and what in them is worth a look"),
    backup: ("backup", "write the embedded database to a new file; the service may be running"),
    restore: ("restore", "put a backup in the place of the embedded database; the service must be stopped"),
    erase: ("erase", "delete everything that one owner has; the service may be running"),
}
"""Each command, its name and what it does."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m resource_service",
        usage="%(prog)s [-h] [command ...]",
        description="The resource service, configured by RESOURCE_* (see .env.example).",
        allow_abbrev=False,
    )
    parser.set_defaults(run=serve)
    commands = parser.add_subparsers(title="commands", metavar="command", prog=parser.prog)
    parsers = {}
    for run, (name, text) in COMMANDS.items():
        sentence = f"{text[0].upper()}{text[1:]}."
        parsers[run] = commands.add_parser(name, help=text, description=sentence, allow_abbrev=False)
        parsers[run].set_defaults(run=run)
    parsers[backup].add_argument("file", type=Path, metavar="FILE", help="must not exist")
    parsers[restore].add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")
    parsers[erase].add_argument(
        "subject", metavar="SUBJECT", help="the account's `sub`; put -- before one that begins with -"
    )
    parsers[erase].add_argument("--issuer", metavar="URL", help="whose account it was (RESOURCE_ISSUER)")
    for run in (restore, erase):
        parsers[run].add_argument("--yes", action="store_true", help="do not ask for confirmation")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
