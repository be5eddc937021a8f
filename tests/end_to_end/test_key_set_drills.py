"""Drills: what a resource service makes of an issuer that is down, rotates, removes a key, or sends nonsense."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession, web

from auth_service.keys.schedule import KeySettings
from resource_service.protection.attempt_gate import REFILL_SECONDS
from resource_service.protection.bounded_fetch import DEFAULT_FRESH_SECONDS, TOTAL_SECONDS
from resource_service.protection.configuration import STALE_SECONDS
from resource_service.protection.remote_key_set import BACKOFF, JITTER, REFRESH_AT
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
ROTATION_STEP_SECONDS = 10
SCHEDULE = KeySettings(rotation_seconds=86_400)
CREDENTIALS = {"username": "ada", "password": "correct horse battery"}
REVOCATION_SECONDS = 10.0
"""`keys revoke` is in the feed at once, and the feed is held open: with room for a busy machine."""
FLOOD_RATE, FLOOD_SECONDS, VALID_RATE = 1_000, 20, 50
LEAST_FLOOD = 10_000
"""Answers that make a flood of it, thousands for each attempt the gate lets through; a busy machine sends no more."""
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


async def until_figure(service: DrilledService, name: str, least: float, seconds: float = 60.0, **labels: str) -> None:
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
    assert 1 <= int(headers["Retry-After"]) <= BACKOFF.most
    assert "WWW-Authenticate" not in headers
    status, keys = await service.readiness()
    assert (status, keys["ok"]) == (503, False)
    assert await service.figure("keys_usable") == 0

    await issuer.come()
    clock.advance(BACKOFF.most)
    await until_figure(service, "keys_usable", 1)
    assert await service.status(token) == 200
    assert (await service.readiness())[0] == 200
    assert await service.figure("keys_stale") == 0


async def test_a_removed_key_is_refused_within_the_bound(service: DrilledService, issuer: DrillIssuer) -> None:
    """A key leaves the set: after the next refresh, 264 s at most, its tokens are refused, cached ones too."""
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


@dataclass
class AuthProcess:
    """The real auth service with the moved clock, and one account in it."""

    url: str
    environment: dict[str, str]
    http: ClientSession

    async def sign_in(self) -> str:
        """An access token of the account."""
        async with self.http.post(f"{self.url}/login", json=CREDENTIALS) as answer:
            assert answer.status == 200, await answer.text()
            token: str = (await answer.json())["access_token"]
            return token

    async def kids(self) -> set[str]:
        """The key ids that are published."""
        async with self.http.get(f"{self.url}/.well-known/jwks.json") as answer:
            return {key["kid"] for key in (await answer.json(content_type=None))["keys"]}

    async def catch_up(self) -> None:
        """Wait until it has read its keys since the clock was moved a step: a busy machine takes its time."""
        async with asyncio.timeout(60):
            while True:
                async with self.http.get(f"{self.url}/readyz") as answer:
                    checks = (await answer.json())["checks"]
                if min(check.get("age_seconds", 86_400) for check in checks.values()) < ROTATION_STEP_SECONDS:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
async def auth(tmp_path: Path, clock: MovedClock) -> AsyncIterator[AuthProcess]:
    port, metrics_port = free_ports(2)
    url = f"http://localhost:{port}"
    environment = {
        "AUTH_PORT": str(port),
        "AUTH_METRICS_PORT": str(metrics_port),
        "AUTH_RESOURCES": json.dumps({AUDIENCE: ["data:read"]}),
        "AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth/auth.sqlite3",
        "AUTH_KEY_ROTATION_DAYS": "1",
    }
    with moved_process(tmp_path / "clock", "auth", environment) as process:
        async with ClientSession() as http:
            await wait_until_answers(http, f"{url}/readyz", process)
            async with http.post(f"{url}/register", json=CREDENTIALS) as answer:
                assert answer.status == 201
            yield AuthProcess(url, environment, http)


@dataclass
class Load:
    """Requests one after the other, each with one of the newest tokens, until it is stopped."""

    service: DrilledService
    tokens: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=8))
    statuses: Counter[int] = field(default_factory=Counter)

    def add(self, token: str) -> None:
        self.tokens.append((self.service.clock.now() + TOKEN_SECONDS, token))

    async def run(self) -> None:
        """Tokens that expire soon are left out: the clock is moved while a request is on its way."""
        while True:
            for expires_at, token in list(self.tokens):
                if expires_at - self.service.clock.now() > 2 * ROTATION_STEP_SECONDS:
                    self.statuses[await self.service.status(token)] += 1
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_a_rotation_under_load_refuses_no_valid_token(
    tmp_path: Path, clock: MovedClock, auth: AuthProcess
) -> None:
    """The auth service replaces its key by its own schedule while requests go on: not one valid token is refused.

    The clock moves in steps of 10 s from before the new key is published until the former one has left the set.
    """
    async with drilled_service(tmp_path, clock, auth.url) as service:
        first = await auth.kids()
        clock.advance(ROTATION_STEP_SECONDS)
        await auth.catch_up()  # the time of a key runs from when it was first seen in the database
        await service.settle(0.2)
        clock.advance(86_400 - SCHEDULE.propagation_seconds - 30)
        await auth.catch_up()
        load = Load(service)
        load.add(await auth.sign_in())
        running = asyncio.create_task(load.run())
        signers = set()
        steps = int((60 + SCHEDULE.propagation_seconds + SCHEDULE.retention_seconds + 300) // ROTATION_STEP_SECONDS)
        for step in range(steps):
            clock.advance(ROTATION_STEP_SECONDS)
            await service.settle()
            await auth.catch_up()
            if step % 6 == 0:
                token = await auth.sign_in()
                signers.add(jwt.get_unverified_header(token)["kid"])
                load.add(token)
            assert not running.done()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert len(signers) == 2
        assert first < signers
        assert await auth.kids() == signers - first
        assert set(load.statuses) == {200}
        print(f"{load.statuses[200]:,} requests over {steps * ROTATION_STEP_SECONDS:,} s of the clock, none refused")


@pytest.mark.slow
async def test_an_emergency_removal_reaches_cached_tokens(tmp_path: Path, clock: MovedClock, auth: AuthProcess) -> None:
    """`keys revoke` with both services running: a token that stands in the cache is refused within the bound."""
    async with drilled_service(tmp_path, clock, auth.url) as service:
        stolen = await auth.sign_in()
        for _ in range(2):
            assert await service.status(stolen) == 200
        kid = jwt.get_unverified_header(stolen)["kid"]
        revoke = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "auth_service", "keys", "revoke", kid, "--yes"),
            env={**os.environ, **auth.environment},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await revoke.wait() == 0
        revoked_at = time.monotonic()
        while await service.status(stolen) == 200:
            assert time.monotonic() - revoked_at < REVOCATION_SECONDS
            await asyncio.sleep(0.02)
        status, headers = await service.ask(stolen)
        assert (status, 'error="invalid_token"' in headers["WWW-Authenticate"]) == (401, True)
        print(f"refused {time.monotonic() - revoked_at:.2f} s after the command had ended")
        # Every process has dropped the key by then, and another one signs: known here without waiting for a refresh.
        while jwt.get_unverified_header(replacement := await auth.sign_in())["kid"] == kid:
            assert time.monotonic() - revoked_at < REVOCATION_SECONDS
        assert await service.status(replacement) == 200


async def one_byte_a_second(request: web.Request) -> web.StreamResponse:
    """A good set, to be complete in a quarter of an hour."""
    response = web.StreamResponse(headers={"Content-Type": JWK_SET})
    await response.prepare(request)
    with suppress(ConnectionError):
        for byte in key_set_of(NEW):
            await response.write(bytes([byte]))
            await asyncio.sleep(1)
    return response


def unusable_keys() -> list[dict[str, object]]:
    """Thirty-two keys, none of which may be used."""
    good = NEW.public_jwk.as_json_object()
    bad: list[dict[str, object]] = [
        {**good, "use": "enc"},
        {**good, "d": "AQAB"},
        {**good, "e": "Aw"},
        {**good, "alg": "RS512"},
        {**good, "kid": 7},
        {**good, "n": "AQAB"},
        {"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0"},
        {"kty": "none"},
    ]
    return bad * 4


NONSENSE: dict[str, tuple[Answer, str]] = {
    "no keys": (json_of({"keys": []}, JWK_SET), "not_a_key_set"),
    "nothing": (body_of(b""), "not_a_key_set"),
    "HTML": (body_of(b"<!doctype html><title>Maintenance</title>", "text/html"), "content_type"),
    "HTML under the right type": (body_of(b"<!doctype html>"), "not_a_key_set"),
    "50 MB": (endless, "too_large"),
    "a gzip bomb": (gzip_bomb, "content_encoding"),
    "one byte a second": (one_byte_a_second, "timeout"),
    "a redirect": (redirect, "redirect"),
    "unusable keys": (json_of({"keys": unusable_keys()}, JWK_SET), "not_a_key_set"),
}


@pytest.mark.slow
async def test_nonsense_for_a_key_set_changes_nothing(service: DrilledService, issuer: DrillIssuer) -> None:
    """Whatever is served as a key set: the last good keys stay in force, time and memory stay bounded, figures tell."""
    clock = service.clock
    for _ in range(20):
        assert await service.status(issuer.token()) == 200
    before = service.resident_megabytes()
    for name, (answer, fault) in NONSENSE.items():
        issuer.answer = answer
        failures = await service.figure("key_fetch_failures_total", fault=fault)
        started = time.monotonic()
        clock.advance(DEFAULT_FRESH_SECONDS)
        slowest = 0.0
        while await service.figure("key_fetch_failures_total", fault=fault) == failures:
            asked = time.monotonic()
            assert await service.status(issuer.token()) == 200, name
            slowest = max(slowest, time.monotonic() - asked)
            assert time.monotonic() - started < 2 * TOTAL_SECONDS, f"{name}: the fetch has no end"
        assert slowest < TOTAL_SECONDS / 2, f"{name}: a request waited {slowest:.1f} s"
        assert await service.status(issuer.token()) == 200, name
        status, keys = await service.readiness()
        assert (status, keys["ok"], keys["stale"], keys["keys"]) == (200, True, True, 1), name
        assert await service.figure("keys_stale") == 1, name
        assert await service.figure("key", kid=OLD.kid) == 1, name
        assert await service.figure("key_fetch_failures_in_row") >= 1, name

        issuer.answer = None
        clock.advance(BACKOFF.most)
        async with asyncio.timeout(60):
            while await service.figure("keys_stale"):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.02)
    assert await service.figure("keys_generation") == 1
    growth = service.peak_megabytes() - before
    assert growth < MAX_GROWTH_MEGABYTES, f"{growth:.0f} MB more at the peak"
    print(f"{growth:.1f} MB more at the peak")


@pytest.mark.alone
@pytest.mark.slow
async def test_a_flood_of_unknown_keys_reaches_nobody_else(service: DrilledService, issuer: DrillIssuer) -> None:
    """1,000 requests a second with random kids for 20 s while the key endpoint is slow and failing.

    The issuer is asked at most twice in any 30 s, every valid request is answered, and none of the flood is let in.
    The 99th percentiles of the valid requests, sent at 50 a second, before, in and after the flood are printed.
    """
    asked: list[float] = []

    async def slow_failure(_request: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        await asyncio.sleep(2)
        return web.Response(status=500)

    issuer.answer = slow_failure
    quiet = [await _valid_requests(service, issuer, FLOOD_SECONDS / 8)]
    flood = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.end_to_end.flood", str(service.port), issuer.url, AUDIENCE),
        *(str(FLOOD_RATE), str(FLOOD_SECONDS)),
        stdout=asyncio.subprocess.PIPE,
    )
    flooded = await _valid_requests(service, issuer, FLOOD_SECONDS)
    output, _ = await flood.communicate()
    quiet.append(await _valid_requests(service, issuer, FLOOD_SECONDS / 8))
    answers = json.loads(output)
    refused = answers.get("401", 0) + answers.get("503", 0)
    assert refused == sum(answers.values()) - answers["not sent"], answers
    assert refused >= LEAST_FLOOD, answers
    assert asked
    assert all(later - earlier > REFILL_SECONDS - 1 for earlier, later in zip(asked, asked[2:], strict=False))
    assert await service.figure("key_fetches_total") == 1 + len(asked)
    base = statistics.mean(_p99(latencies) for latencies in quiet)
    ratio = _p99(flooded) / base
    print(
        f"flood {answers}, {len(asked)} fetches; "
        f"p99 {_p99(flooded) * 1000:.1f} ms, quiet {base * 1000:.1f} ms ({ratio:.1f} x)"
    )


async def _valid_requests(service: DrilledService, issuer: DrillIssuer, seconds: float) -> list[float]:
    """Fifty valid requests a second, one token each; how long each took. All must be answered 200."""
    latencies: list[float] = []
    tokens = [issuer.token() for _ in range(20)]
    started = time.monotonic()
    while (spent := time.monotonic() - started) < seconds:
        asked = time.monotonic()
        assert await service.status(tokens[len(latencies) % len(tokens)]) == 200
        latencies.append(time.monotonic() - asked)
        await asyncio.sleep(max(0.0, len(latencies) / VALID_RATE - spent))
    return latencies


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]
