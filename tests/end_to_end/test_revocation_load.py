"""A flood of endings, and a crowd of readers that wait."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

import aiohttp
import pytest

from auth_service.model.revocation import revoked_session
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from tests.bench.waiting_readers import READERS, raise_file_limit, waiting_readers
from tests.end_to_end.fleet import Fleet, running_fleet
from tests.end_to_end.test_revocation import Client, figure

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BURSTS = 200
ENTRIES_OF_A_BURST = 500
BURST_SECONDS = 0.05
"""500 entries 20 times a second: 10,000 a second for 10 s, through the same transactions as every ending."""
KEEP_UP_SECONDS = 5.0
JOIN_SECONDS = 2.0
QUIET_START_SECONDS = 0.5
"""What a start takes on a machine that does nothing else; by that much more a busy one is slower in everything."""
READERS_MEGABYTES = 100
SIGN_INS = 20


def random_endings(records: Records) -> None:
    now = time.time()
    for _ in range(ENTRIES_OF_A_BURST):
        records.revocations.append(revoked_session(secrets.token_urlsafe(16), at=now))


async def test_readers_keep_up_with_a_flood(tmp_path: Path) -> None:
    """10,000 endings a second for 10 s: every reader has them all shortly after, what it holds is what there is, and
    one that joins then is ready within two seconds of one that joins an empty feed."""
    total = BURSTS * ENTRIES_OF_A_BURST
    with running_fleet(tmp_path, replicas=1, resources=3) as fleet:
        fleet.kill("resource-2")
        empty_start = await asyncio.to_thread(_start_seconds, fleet)
        fleet.kill("resource-2")
        before = fleet.resident_megabytes("resource-0")
        database = await asyncio.to_thread(Database.open, f"sqlite:///{tmp_path}/auth/auth.sqlite3")
        storage = SqlStorage(database)
        begun = time.perf_counter()
        for number in range(BURSTS):
            await storage.write(random_endings)
            await asyncio.sleep(max(0.0, begun + (number + 1) * BURST_SECONDS - time.perf_counter()))
        written = time.perf_counter() - begun
        await database.close()
        async with aiohttp.ClientSession() as http:
            ended = time.perf_counter()
            for name in ("resource-0", "resource-1"):
                while await figure(fleet, http, name, "signet_protection_revocations_held") < total:
                    assert time.perf_counter() - ended < KEEP_UP_SECONDS
                    await asyncio.sleep(0.05)
            behind = time.perf_counter() - ended
        grown = fleet.resident_megabytes("resource-0") - before
        full_start = await asyncio.to_thread(_start_seconds, fleet)
        for _ in range(2):  # the best of three: what else the machine does is not the reader's
            fleet.kill("resource-2")
            full_start = min(full_start, await asyncio.to_thread(_start_seconds, fleet))
        print(
            f"\n{total:,} endings in {written:.1f} s; readers had all {behind:.2f} s later and grew by {grown:.0f} MB"
        )
        print(
            f"a reader starts in {empty_start:.2f} s with an empty feed, in {full_start:.2f} s with {total:,} entries"
        )
        assert grown < total * 0.0006
        slowness = max(1.0, empty_start / QUIET_START_SECONDS)
        assert full_start - empty_start < JOIN_SECONDS * slowness


def _start_seconds(fleet: Fleet) -> float:
    begun = time.perf_counter()
    fleet.start("resource-2")
    fleet.wait_until_ready("resource-2")
    return time.perf_counter() - begun


async def test_a_thousand_readers_wait_at_little_cost(tmp_path: Path) -> None:
    """They take less than 100 MB of the auth service, and nobody among them keeps a sign-in from being answered. By how
    much they slow it is for `make bench` (`waiting_readers`): it is a ratio of two stretches of time."""
    raise_file_limit(4 * READERS)
    with running_fleet(tmp_path, replicas=1, resources=0) as fleet:
        async with aiohttp.ClientSession() as http:
            client = await Client(fleet, http, "ada").register()
            await client.login()
            before = fleet.resident_megabytes("auth-0")
            async with waiting_readers(fleet, READERS):
                for _ in range(SIGN_INS):
                    await client.login()
                grown = fleet.resident_megabytes("auth-0") - before
    print(f"\n{READERS:,} waiting readers: {grown:.0f} MB")
    assert grown < READERS_MEGABYTES
