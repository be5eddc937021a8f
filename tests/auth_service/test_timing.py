"""Nobody learns from the clock which names exist (hostile cases, Timing and enumeration)."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from auth_service.app import open_auth_service
from auth_service.identity.passwords import OWASP_ARGON2ID
from auth_service.model.account import AccountState
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.alike import Attempt, assert_alike, mann_whitney
from tests.auth_service.running import NEW_PASSWORD, PASSWORD, AuthClient, client_session, in_database
from tests.clock import FrozenClock
from tests.wire import serve

SAMPLES = 400
"""Of each kind."""
ACCOUNTS = 15
"""Of each kind: no account may fail more than a hundred times in an hour, and there may be three sets of samples."""
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


async def test_a_difference_is_seen_and_chance_is_not() -> None:
    """Four milliseconds more are found out; a difference of one set of samples alone is not one."""
    calls = 0

    async def quick(_number: int) -> None: ...

    async def slow(_number: int) -> None:
        await asyncio.sleep(0.004)

    async def slow_at_first(_number: int) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.004 if calls <= 20 else 0)

    await assert_alike("quick", {"quick": quick, "slow at first": slow_at_first}, 20)
    assert calls == 40
    with pytest.raises(AssertionError, match="'slow': 0"):
        await assert_alike("quick", {"quick": quick, "slow": slow}, 20)


@pytest.mark.alone
@pytest.mark.slow
async def test_a_refused_sign_in_takes_the_same_time_for_every_name(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """CVE-2021-29621, CVE-2024-21671, CVE-2026-58272: over HTTP, 400 samples of each kind, in turn: against a wrong
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

        def attempt(kind: str) -> Attempt:
            presented = PASSWORD if kind in ("disabled", "unknown") else NEW_PASSWORD

            async def sign_in(number: int) -> None:
                body = {"username": f"{kind}-{number % ACCOUNTS}", "password": presented}
                assert (await auth.post("/login", body)).status == 401

            return sign_in

        kinds = ("known", "unknown", "disabled", "passwordless", "im possible")
        await assert_alike("known", {kind: attempt(kind) for kind in kinds}, SAMPLES)


def _close_accounts(records: Records) -> None:
    for account in records.accounts.list():
        if account.username.startswith("disabled"):
            records.accounts.update(replace(account, state=AccountState.DISABLED))
        if account.username.startswith("passwordless"):
            records.accounts.update(replace(account, password_hash=None))
