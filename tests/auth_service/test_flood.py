"""A flood of sign-ins does not keep the service from everything else (hostile cases, CVE-2026-26233)."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from tests.auth_service.process import serving
from tests.auth_service.running import PASSWORD, PATIENT, AuthClient, client_session
from tests.clock import FrozenClock

PARALLEL = 500
LONG_PASSWORD = "x" * 1_000
PATIENCE_SECONDS = 0.1
TRIES = 3
"""The best of three: what else the machine does is not the service's."""


@pytest.mark.alone
@pytest.mark.slow
async def test_health_and_tokens_are_served_while_sign_ins_queue(tmp_path: Path) -> None:
    """500 sign-ins at once, with the real hash: they are hashed, or turned away with 503; meanwhile the health, the key
    set and what takes a token are answered within 100 ms in nineteen of twenty cases."""
    settings = {name.removeprefix("AUTH_"): value for name, value in PATIENT.items()}
    with serving(tmp_path / "data", **settings) as service:
        async with client_session() as flood_http, client_session() as http:
            flooder = AuthClient(flood_http, service.port, service.metrics_port, FrozenClock())
            auth = AuthClient(http, service.port, service.metrics_port, FrozenClock())
            token = (await auth.new_user()).access_token
            waits = []
            for _ in range(TRIES):
                waits.append(await nineteen_of_twenty(flooder, auth, token))
                await auth.login(password=PASSWORD)
                if waits[-1] < PATIENCE_SECONDS:
                    break
    assert min(waits) < PATIENCE_SECONDS


async def nineteen_of_twenty(flooder: AuthClient, auth: AuthClient, token: str) -> float:
    """The seconds within which so many of the other requests were answered during one flood."""
    bodies = [{"username": f"nobody-{number}", "password": LONG_PASSWORD} for number in range(PARALLEL)]
    flood = asyncio.gather(*(flooder.post("/login", body) for body in bodies))
    taken = []
    while not flood.done():
        for path in ("/livez", "/.well-known/jwks.json", "/sessions"):
            begun = time.perf_counter()
            assert (await auth.get(path, token=token)).status == 200
            taken.append(time.perf_counter() - begun)
    assert {reply.status for reply in await flood} == {401, 503}
    assert len(taken) > 20
    return statistics.quantiles(taken, n=20)[-1]
