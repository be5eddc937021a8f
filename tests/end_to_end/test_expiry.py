"""A token outlives restarts, but not its time."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from shared.token_rules import LEEWAY_SECONDS
from tests.end_to_end.deployment import User
from tests.end_to_end.moved_clock import MovedClock
from tests.end_to_end.processes import running_processes


@pytest.mark.slow
def test_a_token_works_across_a_restart_until_it_expires(tmp_path: Path) -> None:
    """Both services are restarted: the token is good until its `exp` (and the leeway), and not a moment longer."""
    clock = MovedClock(tmp_path / "clock")
    with running_processes(tmp_path, clock=tmp_path / "clock") as processes:
        user = User(processes, "ada").sign_up()
        expires_at = jwt.decode(user.token, options={"verify_signature": False})["exp"]
        assert user.put("kept", 1).status == 201
        processes.restart()
        assert user.get("kept").status == 200
        clock.advance(expires_at - clock.now() - 1)
        assert user.get("kept").status == 200
        clock.advance(expires_at + LEEWAY_SECONDS - clock.now())
        refused = user.get("kept")
        assert refused.status == 401
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        processes.wait_until_ready()
        assert user.login().status == 200
        assert user.get("kept").status == 200
