"""Nobody learns from the clock which names exist (hostile cases, Timing and enumeration)."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from auth_service.app import open_auth_service
from auth_service.identity.passwords import OWASP_ARGON2ID
from auth_service.model.account import AccountState
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.alike import assert_alike, mann_whitney
from tests.auth_service.running import NEW_PASSWORD, PASSWORD, AuthClient, client_session, in_database
from tests.clock import FrozenClock
from tests.wire import serve

SAMPLES = 400
"""Of each kind, one of each kind after another, so that whatever else the machine does hits all alike."""
ACCOUNTS = 5
"""Of each kind: no account may fail more than a hundred times in an hour."""
HALF_PRICE = replace(OWASP_ARGON2ID, memory_cost=9_728, time_cost=1)
"""A quarter of the work of the real profile; the same path. A kind that skipped its hash would stand out by 5 ms."""


def test_the_statistic_is_the_known_one() -> None:
    """Mann and Whitney's U by its normal approximation: equal samples, shifted ones, and a worked example."""
    same = [float(value % 17) for value in range(400)]
    assert mann_whitney(same, same) > 0.99
    assert mann_whitney([float(value) for value in range(400)], [value + 200.0 for value in range(400)]) < 1e-9
    # Two samples of ten without ties, U = 16: z = (16 - 50) / sqrt(10 * 10 * 21 / 12).
    first = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.4, 2.6, 2.8, 3.0]
    second = [1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.5, 2.7, 2.9]
    u = sum(a > b for a in first for b in second)
    expected = math.erfc(abs(u - 50) / math.sqrt(10 * 10 * 21 / 12) / math.sqrt(2))
    assert mann_whitney(first, second) == pytest.approx(expected)


@pytest.mark.slow
async def test_a_refused_sign_in_takes_the_same_time_for_every_name(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """CVE-2021-29621, CVE-2024-21671, CVE-2026-58272: over HTTP, 400 samples of each kind, interleaved: against a wrong
    password no kind of name differs with p < 0.01 (Mann-Whitney, two-sided) or else by less than 2 ms in the median."""
    settings = AuthSettings.load({**auth_environment, "AUTH_PASSWORD_THREADS": "1"})
    async with (
        open_auth_service(settings, clock, password_profile=HALF_PRICE) as service,
        serve(service.app) as port,
        client_session() as http,
    ):
        auth = AuthClient(http, port, port, clock)
        for number in range(ACCOUNTS):
            for kind in ("known", "disabled", "passwordless"):
                await auth.register(f"{kind}-{number}")
        await in_database(settings, _close_accounts)
        taken: dict[str, list[float]] = {
            kind: [] for kind in ("known", "unknown", "disabled", "passwordless", "im possible")
        }
        for sample in range(SAMPLES):
            for kind, seconds in taken.items():
                presented = PASSWORD if kind in ("disabled", "unknown") else NEW_PASSWORD
                body = {"username": f"{kind}-{sample % ACCOUNTS}", "password": presented}
                begun = time.perf_counter()
                reply = await auth.post("/login", body)
                seconds.append(time.perf_counter() - begun)
                assert reply.status == 401
    assert_alike(taken.pop("known"), taken)


def _close_accounts(records: Records) -> None:
    for account in records.accounts.list():
        if account.username.startswith("disabled"):
            records.accounts.update(replace(account, state=AccountState.DISABLED))
        if account.username.startswith("passwordless"):
            records.accounts.update(replace(account, password_hash=None))
