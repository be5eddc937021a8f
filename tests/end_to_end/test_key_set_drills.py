"""Drills: what a resource service makes of an issuer that is down, rotates, removes a key, or sends nonsense."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from resource_service.protection.bounded_fetch import DEFAULT_FRESH_SECONDS, TOTAL_SECONDS
from resource_service.protection.configuration import STALE_SECONDS
from resource_service.protection.remote_key_set import JITTER, MAX_BACKOFF_SECONDS, REFRESH_AT
from tests.end_to_end.deployment import free_ports
from tests.end_to_end.drill import (
    AUDIENCE,
    TOKEN_SECONDS,
    DrilledService,
    DrillIssuer,
    drill_issuer,
    drilled_service,
    moved_process,
    wait_until_answers,
)
from tests.end_to_end.moved_clock import MovedClock
from tests.protocol.minting import key_set_of, signing_key
from tests.resource_service.protection.issuer import (
    JWK_SET,
    Answer,
    body_of,
    endless,
    gzip_bomb,
    json_of,
    redirect,
)

OLD, NEW = signing_key("RS256", 0), signing_key("RS256", 1)
OUTAGE_SECONDS = 55 * 60
STEP_SECONDS = 30
REMOVAL_SECONDS = DEFAULT_FRESH_SECONDS * REFRESH_AT * (1 + JITTER)
"""The documented bound: a key that left the set is refused when the next planned refresh has come."""
MAX_GROWTH_MEGABYTES = 16.0
"""What handling 50 MB of nonsense may add to the process at its peak; a fetch is at most 64 KiB of it."""


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path / "clock")


@pytest.fixture
async def issuer(clock: MovedClock) -> AsyncIterator[DrillIssuer]:
    async with drill_issuer(clock) as issuer:
        yield issuer


@pytest.fixture
async def service(tmp_path: Path, clock: MovedClock, issuer: DrillIssuer) -> AsyncIterator[DrilledService]:
    async with drilled_service(tmp_path, clock, issuer.url) as service:
        yield service


async def until_figure(service: DrilledService, name: str, least: float, seconds: float = 8.0, **labels: str) -> None:
    """Wait, in real time, until the figure has grown to `least`."""
    async with asyncio.timeout(seconds):
        while await service.figure(name, **labels) < least:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_an_outage_of_55_minutes_goes_unnoticed_by_callers(service: DrilledService, issuer: DrillIssuer) -> None:
    """The issuer is gone for 55 minutes from the moment a refresh would be due: no valid request fails.

    After the stale bound (an hour after the last success) the answer is 503 with Retry-After, not 401, and the service
    is not ready; when the issuer is back it recovers by itself.
    """
    clock = service.clock
    clock.advance(DEFAULT_FRESH_SECONDS * REFRESH_AT * (1 - JITTER) - 5)
    assert await service.status(issuer.token()) == 200
    await issuer.go()
    kept = issuer.token()
    for step in range(OUTAGE_SECONDS // STEP_SECONDS):
        clock.advance(STEP_SECONDS)
        await service.settle()
        if step * STEP_SECONDS % TOKEN_SECONDS == 0:
            kept = issuer.token()
        for token in (issuer.token(), kept):
            assert await service.status(token) == 200, f"{(step + 1) * STEP_SECONDS} s into the outage"
    status, keys = await service.readiness()
    assert (status, keys["ok"], keys["stale"]) == (200, True, True)
    assert await service.figure("keys_stale") == 1

    clock.advance(STALE_SECONDS - OUTAGE_SECONDS)
    token = issuer.token()
    status, headers = await service.ask(token)
    assert status == 503
    assert 1 <= int(headers["Retry-After"]) <= MAX_BACKOFF_SECONDS
    assert "WWW-Authenticate" not in headers
    status, keys = await service.readiness()
    assert (status, keys["ok"]) == (503, False)
    assert await service.figure("keys_usable") == 0

    await issuer.come()
    clock.advance(MAX_BACKOFF_SECONDS)
    await until_figure(service, "keys_usable", 1)
    assert await service.status(token) == 200
    assert (await service.readiness())[0] == 200
    assert await service.figure("keys_stale") == 0


async def test_a_removed_key_is_refused_within_the_bound(service: DrilledService, issuer: DrillIssuer) -> None:
    """A key leaves the published set: after the next refresh, 264 s at most, its tokens are refused, cached ones too."""
    clock = service.clock
    issuer.keys = [OLD, NEW]
    clock.advance(REMOVAL_SECONDS)
    await until_figure(service, "keys_generation", 2)
    stolen = issuer.token(OLD)
    assert await service.status(stolen) == 200
    assert await service.status(stolen) == 200  # from the cache
    hits = await service.figure("cache_hits_total")
    assert hits >= 1
    issuer.keys = [NEW]
    clock.advance(REMOVAL_SECONDS)
    await until_figure(service, "keys_generation", 3)
    for token in (stolen, issuer.token(OLD)):
        status, headers = await service.ask(token)
        assert status == 401
        assert 'error="invalid_token"' in headers["WWW-Authenticate"]
    assert await service.status(issuer.token(NEW)) == 200
    assert await service.figure("cache_hits_total") == hits


@pytest.mark.slow
async def test_a_rotation_under_load_refuses_no_valid_token(tmp_path: Path, clock: MovedClock) -> None:
    """The real auth service replaces its key while requests go on: not one is refused, and both keys have signed."""
    port, metrics_port, resource_port = free_ports(3)
    environment = {
        "AUTH_PORT": str(port),
        "AUTH_METRICS_PORT": str(metrics_port),
        "AUTH_RESOURCES": json.dumps({AUDIENCE: ["data:read"]}),
        "AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth/auth.sqlite3",
        "AUTH_KEY_ROTATION_DAYS": "1",
    }
    del resource_port
    with moved_process(tmp_path / "clock", "auth", environment) as process:
        async with ClientSession() as http:
            url = f"http://localhost:{port}"
            await wait_until_answers(http, f"{url}/readyz", process)
            async with drilled_service(tmp_path, clock, url) as service:
                await _rotate_under_load(url, service)


async def _rotate_under_load(url: str, service: DrilledService) -> None:
    credentials = {"username": "ada", "password": "correct horse battery"}
    async with service.http.post(f"{url}/register", json=credentials) as answer:
        assert answer.status == 201

    async def sign_in() -> str:
        async with service.http.post(f"{url}/login", json=credentials) as answer:
            assert answer.status == 200, await answer.text()
            token: str = (await answer.json())["access_token"]
            return token

    await sign_in()
