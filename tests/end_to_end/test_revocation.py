"""Revocation between processes: how soon a logout is felt elsewhere, and what outages and restarts leave of it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.fleet import Fleet, running_fleet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fleet")]

MEASURED = 500
STREAMS = 2
LOAD_PAUSE_SECONDS = 0.01
PASSWORD = "correct horse battery"
P99_SECONDS = 0.25
MAX_SECONDS = 1.0
TRIES = 3
"""The best of three: what else the machine does is not the services'."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two replicas of the auth service on one database, three resource services."""
    folder: Path = tmp_path_factory.mktemp("fleet")
    with running_fleet(folder, replicas=2, resources=3, AUTH_REGISTRATIONS_PER_ADDRESS="1000") as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


class Client:
    """Somebody who signs in, reads, and signs out, at a replica of his choice."""

    def __init__(self, fleet: Fleet, http: aiohttp.ClientSession, username: str) -> None:
        self._fleet = fleet
        self._http = http
        self._credentials = {"username": username, "password": PASSWORD}

    async def register(self) -> Client:
        url = self._fleet.url("auth-0", "/register")
        async with self._http.post(url, json=self._credentials) as answer:
            assert answer.status == 201, await answer.text()
        return self

    async def login(self, replica: int = 0) -> dict[str, Any]:
        async with self._http.post(self._fleet.url(f"auth-{replica}", "/login"), json=self._credentials) as answer:
            assert answer.status == 200, await answer.text()
            tokens: dict[str, Any] = await answer.json()
            return tokens

    async def logout(self, token: str, replica: int = 0) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.post(self._fleet.url(f"auth-{replica}", "/logout"), headers=headers) as answer:
            assert answer.status == 204, await answer.text()

    async def read(self, token: str, resource: int) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.get(self._fleet.url(f"resource-{resource}", "/userData"), headers=headers) as answer:
            await answer.read()
            return answer.status

    async def refused_after(self, token: str, resource: int) -> float:
        """Seconds until the first 401; every answer before is 200."""
        begun = time.perf_counter()
        while (status := await self.read(token, resource)) == 200:
            assert time.perf_counter() - begun < 60
        assert status == 401
        return time.perf_counter() - begun


@asynccontextmanager
async def light_load(client: Client) -> AsyncIterator[list[int]]:
    """Reads of a token that stays good, a hundred a second in all; the statuses that were not 200."""
    token, wrong = (await client.login())["access_token"], list[int]()

    async def read_on() -> None:
        number = 0
        while True:
            status = await client.read(token, number % 3)
            if status != 200:
                wrong.append(status)
            number += 1
            await asyncio.sleep(LOAD_PAUSE_SECONDS)

    task = asyncio.create_task(read_on())
    try:
        yield wrong
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.alone
async def test_a_logout_is_felt_everywhere_within_a_moment(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    """From the 204 of a logout at either replica to the first 401 at a resource service, the token warm in its cache
    or never seen there: 99 of 100 within 250 ms, all within a second."""
    client = await Client(fleet, http, "measured").register()
    bystander = await Client(fleet, http, "bystander").register()
    everything: list[float] = []
    for _ in range(TRIES):
        async with light_load(bystander) as wrong:
            taken = await seconds_until_felt(client)
        assert wrong == []
        for kind, seconds in taken.items():
            print(f"\nlogout to first 401, {kind}: {_summary(seconds)}")
        everything = sorted(taken["warm"] + taken["cold"])
        assert len(everything) == MEASURED
        if everything[int(MEASURED * 0.99) - 1] < P99_SECONDS and everything[-1] < MAX_SECONDS:
            return
    raise AssertionError(_summary(everything))


async def seconds_until_felt(client: Client) -> dict[str, list[float]]:
    """How long the first 401 took after each of the logouts, by whether the token was in the resource's cache."""
    taken: dict[str, list[float]] = {"warm": [], "cold": []}

    async def measure(stream: int) -> None:
        for number in range(MEASURED // STREAMS):
            token = (await client.login(number % 2))["access_token"]
            resource, kind = number % 3, "warm" if number % 4 < 2 else "cold"
            if kind == "warm":
                assert await client.read(token, resource) == 200
            await client.logout(token, (number + stream) % 2)
            taken[kind].append(await client.refused_after(token, resource))

    await asyncio.gather(*(measure(stream) for stream in range(STREAMS)))
    return taken


def _summary(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99) - 1]
    figures = {"median": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return f"{len(ordered)} times, " + ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in figures.items())


async def figure(fleet: Fleet, http: aiohttp.ClientSession, name: str, figure: str) -> float:
    """What the metrics of one process say."""
    async with http.get(f"http://127.0.0.1:{fleet.metrics_port(name)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    samples = (line.split() for line in lines if line.startswith((f"{figure} ", f"{figure}{{")))
    return float(next(samples)[-1])


async def failures_in_row(fleet: Fleet, http: aiohttp.ClientSession) -> list[float]:
    """How often in a row each resource service has not reached the feed."""
    name = "signet_protection_revocation_failures_in_row"
    return [await figure(fleet, http, f"resource-{number}", name) for number in range(3)]


async def test_an_outage_takes_nothing_back(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    """Both replicas killed, until every reader has failed three times: what was revoked stays refused, what is good
    stays good; and after they are back the next logout is felt as before."""
    client = await Client(fleet, http, "outage").register()
    ended, good = (await client.login())["access_token"], (await client.login())["access_token"]
    await client.logout(ended)
    for resource in range(3):
        await client.refused_after(ended, resource)
        assert await client.read(good, resource) == 200
    for replica in ("auth-0", "auth-1"):
        fleet.kill(replica)
    cut_off = False
    while not cut_off:
        cut_off = min(await failures_in_row(fleet, http)) >= 3
        for resource in range(3):
            assert await client.read(ended, resource) == 401
            assert await client.read(good, resource) == 200
        await asyncio.sleep(0.2)
    for replica in ("auth-0", "auth-1"):
        fleet.start(replica)
    await asyncio.to_thread(fleet.wait_until_ready, "auth-0", "auth-1")
    async with asyncio.timeout(60):
        while max(await failures_in_row(fleet, http)) > 0:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.05)
    await client.logout(good, 1)
    for resource in range(3):
        assert await client.refused_after(good, resource) < MAX_SECONDS
        assert await client.read(ended, resource) == 401


async def test_a_restart_during_an_outage_forgets_nothing(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    """Both replicas killed, then a resource service killed and started: what it had heard of is refused from its first
    answer on, what is good is taken."""
    client = await Client(fleet, http, "twice").register()
    ended, good = (await client.login())["access_token"], (await client.login())["access_token"]
    await client.logout(ended)
    await client.refused_after(ended, 0)
    await asyncio.sleep(1.5)  # what was heard of is written once a second
    for name in ("auth-0", "auth-1", "resource-0"):
        fleet.kill(name)
    fleet.start("resource-0")
    statuses: set[int] = set()
    deadline = time.monotonic() + 20
    while 401 not in statuses and time.monotonic() < deadline:
        with suppress(aiohttp.ClientError):
            statuses.add(await client.read(ended, 0))
        await asyncio.sleep(0.005)
    assert statuses <= {401, 503}
    await asyncio.to_thread(fleet.wait_until_ready, "resource-0")
    assert await client.read(ended, 0) == 401
    assert await client.read(good, 0) == 200
    for replica in ("auth-0", "auth-1"):
        fleet.start(replica)
    await asyncio.to_thread(fleet.wait_until_ready, "auth-0", "auth-1")
    await asyncio.sleep(6)  # the readers' longest pause between two attempts
    await client.logout(good, 1)
    assert await client.refused_after(good, 0) < MAX_SECONDS


async def test_a_restart_of_a_resource_service_forgets_nothing(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    """Killed and started again: it takes the whole feed before its first answer that is not 503."""
    client = await Client(fleet, http, "restarted").register()
    ended, good = (await client.login())["access_token"], (await client.login())["access_token"]
    await client.logout(ended)
    await client.refused_after(ended, 0)
    fleet.kill("resource-0")
    fleet.start("resource-0")
    statuses: set[int] = set()
    deadline = time.monotonic() + 60
    while 401 not in statuses and time.monotonic() < deadline:
        with suppress(aiohttp.ClientError):
            statuses.add(await client.read(ended, 0))
        await asyncio.sleep(0.005)
    assert statuses <= {401, 503}
    await asyncio.to_thread(fleet.wait_until_ready, "resource-0")
    assert await client.read(ended, 0) == 401
    assert await client.read(good, 0) == 200
