"""`python -m resource_service`: `serve` runs the service, the other commands are for its operator.

Exit codes: 0 done, 1 it failed, 2 the settings or the command line are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from resource_service.settings import ResourceSettings
from shared.settings import SettingsError

COMMANDS = {
    "serve": "serve in the foreground until SIGTERM or Ctrl-C; requests in flight are finished (the default)",
    "check-settings": "say whether the settings allow a start, and what in them is worth a look",
}


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command that `arguments` name, configured by `environ`; return the exit code."""
    command = _parse(arguments)
    try:
        settings = ResourceSettings.load(environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return serve(settings) if command == "serve" else check_settings(settings)


def serve(settings: ResourceSettings) -> int:
    # Imported here: the other commands need no web server.
    from resource_service.app import open_listeners
    from shared.logging import configure_logging
    from shared.serving import run

    configure_logging("resource", level=settings.log_level)
    issuers = ", ".join([settings.issuer, *(trusted.issuer for trusted in settings.trusted_issuers)])
    ready_line = f"resource service ready on http://localhost:{settings.port} (accepts tokens of {issuers})"
    return run(lambda: open_listeners(settings), ready_line=ready_line)


def check_settings(settings: ResourceSettings) -> int:
    for warning in settings.warnings():
        print(f"note: {warning}")
    print("the settings allow a start")
    return 0


def _parse(arguments: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(
        prog="python -m resource_service",
        description="The resource service, configured by RESOURCE_* (see .env.example).",
        epilog="commands:\n" + "\n".join(f"  {name:<15} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="serve", metavar="command", help="see below")
    return str(parser.parse_args(arguments).command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
