"""Five rotations of the signing key under load: two auth processes, the real resource service, and no valid token
refused.

Days pass in minutes: the clock of all processes is moved, by less than a signing lease while keys change, and else by
less than a resource service keeps a key set that it cannot fetch again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession

from auth_service.keys.schedule import DAY_SECONDS, KeySettings
from tests.end_to_end.deployment import free_ports
from tests.end_to_end.drill import AUDIENCE, TOKEN_SECONDS, DrilledService, drilled_service, moved_process
from tests.end_to_end.drill import wait_until_answers as wait_until_200
from tests.end_to_end.moved_clock import MovedClock

ROTATIONS = 5
REPLICAS = 2
SCHEDULE = KeySettings(rotation_seconds=DAY_SECONDS)
FINE_SECONDS, COARSE_SECONDS = 20, 2_400
"""A step while keys change, and while nothing is due."""
CREDENTIALS = {"username": "ada", "password": "correct horse battery"}
READERS = 2


@dataclass
class Replicas:
    """The processes of the auth service, and one session that is continued at each of them in turn."""

    urls: list[str]
    http: ClientSession
    refresh_token: str = ""
    _turn: itertools.cycle[str] = field(init=False)

    def __post_init__(self) -> None:
        self._turn = itertools.cycle(self.urls)

    async def sign_in(self) -> str:
        """An access token of a new session."""
        async with self.http.post(f"{self.urls[0]}/register", json=CREDENTIALS) as answer:
            assert answer.status == 201, await answer.text()
        async with self.http.post(f"{self.urls[0]}/login", json=CREDENTIALS) as answer:
            assert answer.status == 200, await answer.text()
            return self._keep(await answer.json())

    async def refresh(self) -> str:
        """The session's next access token."""
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
        async with self.http.post(f"{next(self._turn)}/token", data=form) as answer:
            assert answer.status == 200, await answer.text()
            return self._keep(await answer.json())

    async def follow(self) -> None:
        """Return once every process has noticed that the clock has moved."""
        for url in self.urls:
            while True:
                async with self.http.get(f"{url}/readyz") as answer:
                    keys = (await answer.json())["checks"]["signing_keys"]
                if keys.get("age_seconds", SCHEDULE.refresh_seconds) < SCHEDULE.refresh_seconds:
                    break
                await asyncio.sleep(0.002)

    def _keep(self, members: dict[str, str]) -> str:
        self.refresh_token = members["refresh_token"]
        return members["access_token"]


@dataclass
class Load:
    """Readers that go on without a pause, each time with every token that lives on for a while.

    A refusal counts only where the token was still good when the answer came: the clock moves while it is awaited.
    """

    service: DrilledService
    step: int = FINE_SECONDS
    accepted: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    passes: int = 0
    _tokens: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=8))

    def add(self, token: str) -> str:
        """Use this one, too, from now on; the id of the key that signed it."""
        claims = jwt.decode(token, options={"verify_signature": False})
        self._tokens.append((claims["exp"], token))
        kid: str = jwt.get_unverified_header(token)["kid"]
        return kid

    async def run(self) -> None:
        clock = self.service.clock
        while True:
            for expires_at, token in list(self._tokens):
                if expires_at - clock.now() < self.step:
                    continue
                status, headers = await self.service.ask(token)
                if status == 200:
                    self.accepted += 1
                elif clock.now() < expires_at:
                    self.refused.append((status, headers.get("WWW-Authenticate", "")))
            self.passes += 1
            await asyncio.sleep(0)

    async def whole_passes(self) -> None:
        """Return once each reader that had begun a pass when this was called has ended it."""
        until = self.passes + READERS
        while self.passes < until:  # noqa: ASYNC110 - a pass is a few milliseconds
            await asyncio.sleep(0.001)


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path / "clock")


@pytest.fixture
async def auth(tmp_path: Path, clock: MovedClock) -> AsyncIterator[Replicas]:
    """Two processes on one database that rotate every day."""
    ports = free_ports(2 * REPLICAS)
    urls = [f"http://localhost:{port}" for port in ports[:REPLICAS]]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession())
        for number, url in enumerate(urls):
            environment = {
                "AUTH_PORT": str(ports[number]),
                "AUTH_METRICS_PORT": str(ports[REPLICAS + number]),
                "AUTH_ISSUER": urls[0],
                "AUTH_RESOURCES": json.dumps({AUDIENCE: ["data:read"]}),
                "AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth/auth.sqlite3",
                "AUTH_KEY_ROTATION_DAYS": "1",
            }
            process = stack.enter_context(moved_process(tmp_path / "clock", "auth", environment))
            await wait_until_200(http, f"{url}/readyz", process)
        yield Replicas(urls, http)


def steps() -> list[int]:
    """The seconds by which the clock is moved, one after another, for all the rotations."""
    quiet = DAY_SECONDS - SCHEDULE.propagation_seconds
    busy = SCHEDULE.propagation_seconds + SCHEDULE.retention_seconds + TOKEN_SECONDS
    day = [(COARSE_SECONDS, quiet - (busy - SCHEDULE.propagation_seconds) - 60), (FINE_SECONDS, busy + 60)]
    first = (COARSE_SECONDS, busy - SCHEDULE.propagation_seconds)
    stretches = [first, *(day * ROTATIONS)]
    # Each key waits a little longer than it must: until somebody has looked. So the last stretch is a little longer.
    stretches.append((FINE_SECONDS, ROTATIONS * 3 * FINE_SECONDS))
    return [step for step, seconds in stretches for _ in range(-int(-seconds // step))]


@pytest.mark.slow
async def test_five_rotations_under_load_refuse_no_valid_token(
    tmp_path: Path, clock: MovedClock, auth: Replicas
) -> None:
    """Six keys sign one after another, by the schedule alone, at two processes: every valid token is accepted at any
    time, every refresh is answered, and a key's end is noticed by nobody."""
    signers = Counter[str]()
    async with drilled_service(tmp_path, clock, auth.urls[0]) as service:
        load = Load(service)
        load.add(await auth.sign_in())
        readers = [asyncio.create_task(load.run()) for _ in range(READERS)]
        for step in steps():
            load.step = min(step, TOKEN_SECONDS // 2)
            await load.whole_passes()
            clock.advance(step)
            await auth.follow()
            signers[load.add(await auth.refresh())] += 1
            assert load.refused == []
            assert not any(reader.done() for reader in readers)
        for reader in readers:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        fetches = await service.figure("key_fetches_total")
    assert len(signers) == ROTATIONS + 1, signers
    assert load.refused == []
    print(
        f"{load.accepted:,} requests with {signers.total():,} tokens of {len(signers)} keys, none refused; "
        f"{fetches:,.0f} fetches of the key set"
    )
