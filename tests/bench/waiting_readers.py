"""What 1,000 readers that wait for the revocation feed cost one auth process: memory, and how they slow a sign-in.

Rounds with readers and rounds without take turns, so that what else the machine does falls on both. The processor time
of the process counts everything it does meanwhile, the readers' own requests among it.
"""

from __future__ import annotations

import asyncio
import resource as limits
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from tests.bench import report
from tests.end_to_end.fleet import Fleet, running_fleet
from tests.end_to_end.test_revocation import Client

READERS: Final = 1_000
READER_SECONDS: Final = 10
"""How long ours has its requests held."""
ROUNDS: Final = 4
SIGN_INS: Final = 30
AUTH: Final = "auth-0"


class Round(NamedTuple):
    """One sign-in of a round: seconds that the client waited in the median, and of processor time on average."""

    waited: float
    worked: float


def main() -> None:
    report.heading(f"{READERS:,} waiting readers of one auth process, {ROUNDS} rounds with and without in turn")
    raise_file_limit(4 * READERS)  # of the services too, which inherit it
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder), replicas=1, resources=0) as fleet:
        asyncio.run(_measure(fleet))


async def _measure(fleet: Fleet) -> None:
    async with aiohttp.ClientSession() as http:
        await _round(fleet, await Client(fleet, http, "first").register())
        before = fleet.resident_megabytes(AUTH)
        alone, among, grown = list[Round](), list[Round](), 0.0
        for number in range(ROUNDS):
            # Of too many sessions of one account the oldest would end, and be news to all readers.
            client = await Client(fleet, http, f"user-{number}").register()
            alone.append(await _round(fleet, client))
            async with waiting_readers(fleet, READERS):
                among.append(await _round(fleet, client))
                grown = max(grown, fleet.resident_megabytes(AUTH) - before)
    report.line("memory", f"{grown:.0f} MB", "target 100 MB")
    _compare("a sign-in, as the client waits (median)", [each.waited for each in alone], [e.waited for e in among])
    _compare("a sign-in, processor time", [each.worked for each in alone], [each.worked for each in among])


def _compare(name: str, alone: list[float], among: list[float]) -> None:
    ratios = sorted(with_readers / without for without, with_readers in zip(alone, among, strict=True))
    report.line(
        name,
        f"{statistics.median(among) / statistics.median(alone):.2f} x",
        f"target 1.1; {statistics.median(alone) * 1e3:.1f} ms alone; rounds {ratios[0]:.2f} to {ratios[-1]:.2f}",
    )


async def _round(fleet: Fleet, client: Client) -> Round:
    waited, worked = [], fleet.processor_seconds(AUTH)
    for _ in range(SIGN_INS):
        begun = time.perf_counter()
        await client.login()
        waited.append(time.perf_counter() - begun)
    return Round(statistics.median(waited), (fleet.processor_seconds(AUTH) - worked) / SIGN_INS)


@asynccontextmanager
async def waiting_readers(fleet: Fleet, count: int) -> AsyncIterator[None]:
    """`count` readers that wait at the end of the feed, all of them, until the block ends."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as crowd:
        readers = [asyncio.create_task(_wait_on(fleet, crowd)) for _ in range(count)]
        try:
            # Some are always between two requests.
            await _until_waiting(fleet, crowd, lambda waiting: waiting >= count * 0.98)
            yield
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            # The service notices that they have gone when it answers them.
            await _until_waiting(fleet, crowd, lambda waiting: waiting == 0)


async def _wait_on(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    while True:
        async with http.get(fleet.url(AUTH, f"/revocations?after=0&mark=0&wait={READER_SECONDS}")) as answer:
            await answer.read()


async def _until_waiting(fleet: Fleet, http: aiohttp.ClientSession, holds: Callable[[float], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds(await _waiting(fleet, http)):  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.1)


async def _waiting(fleet: Fleet, http: aiohttp.ClientSession) -> float:
    async with http.get(f"http://127.0.0.1:{fleet.metrics_port(AUTH)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith("signet_revocation_feed_waiting ")).split()[1])


def raise_file_limit(count: int) -> None:
    """Let this process have `count` files open, as far as it may."""
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (min(hard, max(soft, count)), hard))


if __name__ == "__main__":
    main()
