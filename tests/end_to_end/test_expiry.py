"""A token outlives restarts, but not its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shared.token_rules import LEEWAY_SECONDS
from tests.end_to_end.deployment import User
from tests.end_to_end.processes import running_processes

TOKEN_SECONDS = 30


@pytest.mark.slow
def test_a_token_works_across_a_restart_until_it_expires(tmp_path: Path) -> None:
    """Both services are restarted: the token is good until its `exp` (and the leeway), and not a moment longer."""
    with running_processes(tmp_path, AUTH_ACCESS_TOKEN_SECONDS=str(TOKEN_SECONDS)) as processes:
        user = User(processes, "ada").sign_up()
        signed_in_at = time.monotonic()
        assert user.put("kept", 1).status == 201
        processes.restart()
        assert user.get("kept").status == 200
        time.sleep(max(0.0, signed_in_at + TOKEN_SECONDS - 2 - time.monotonic()))
        assert user.get("kept").status == 200
        time.sleep(LEEWAY_SECONDS + 4)
        refused = user.get("kept")
        assert refused.status == 401
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        assert user.login().status == 200
        assert user.get("kept").status == 200
