"""The auth service as a process that dies, as by `kill -9`, between the commit of a refresh and its answer.

`python -m tests.end_to_end.mortal FILE` starts the real service, configured by the environment. While FILE exists, the
first token set that is to be signed ends the process instead: what it belongs to is committed by then.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from auth_service.app import open_listeners
from auth_service.identity.sessions import OpenSession
from auth_service.settings import AuthSettings
from auth_service.tokens.token_issuer import TokenIssuer
from auth_service.tokens.token_set import TokenSet
from shared.scope import Scope
from shared.serving import run


def main(file: Path) -> int:
    issue = TokenIssuer.issue

    def issue_or_die(issuer: TokenIssuer, opened: OpenSession, scope: Scope) -> TokenSet:
        if file.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return issue(issuer, opened, scope)

    setattr(TokenIssuer, "issue", issue_or_die)  # noqa: B010 - a method is not to be assigned to otherwise
    settings = AuthSettings.load(os.environ)
    return run(lambda: open_listeners(settings), ready_line="auth service ready")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
