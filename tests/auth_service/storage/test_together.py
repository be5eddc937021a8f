"""Transactions that come together: what is told to others (the feed, the log, who waits for it) is what was stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from auth_service.model.revocation import revoked_session
from auth_service.model.security_event import Act, SecurityEventKind
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.revocation_feed import identifier_hash
from shared.transactions import DatabaseUnavailable
from tests.auth_service.stored import CALLER, NOW
from tests.commits import Held, watched


class ChangeOfMind(Exception):
    """What a piece of work fails with."""


def end(sid: str, *, fails: bool = False) -> Callable[[Records], str]:
    """Work that ends two sessions, says so, and perhaps fails after that."""

    def work(records: Records) -> str:
        for suffix in "ab":
            records.revocations.append(revoked_session(sid + suffix, at=NOW))
        records.security_events.append(Act(NOW, CALLER).done(SecurityEventKind.SESSION_ENDED, sid=sid))
        if fails:
            raise ChangeOfMind
        return sid

    return work


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failing=st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_feed_and_the_log_hold_what_was_acknowledged(database_url: str, failing: list[bool]) -> None:
    """However many come at once and fail, numbers are given without a gap, whole, to what is stored."""
    asyncio.run(_end_at_once(database_url, failing))


async def _end_at_once(database_url: str, failing: list[bool]) -> None:
    database, revoked = Database.open(database_url), asyncio.Event()
    storage = SqlStorage(database, revoked)
    before = (await storage.read(lambda records: records.revocations.head())).seq
    with capture_logs() as lines:
        outcomes = await asyncio.gather(
            *(storage.write(end(str(number), fails=fails)) for number, fails in enumerate(failing)),
            return_exceptions=True,
        )
    acknowledged = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert acknowledged == [str(number) for number, fails in enumerate(failing) if not fails]
    assert sorted(line["sid"] for line in lines) == sorted(acknowledged)
    assert revoked.is_set() is bool(acknowledged)
    head = (await storage.read(lambda records: records.revocations.head())).seq
    assert head == before + 2 * len(acknowledged)
    hashes = [await storage.read(_entry_behind(seq)) for seq in range(before, head)]
    pairs = [hashes[index : index + 2] for index in range(0, len(hashes), 2)]
    assert sorted(pairs) == sorted([identifier_hash(f"{sid}{suffix}") for suffix in "ab"] for sid in acknowledged)
    await database.close()


def _entry_behind(seq: int) -> Callable[[Records], bytes]:
    """Reads the identifier hash of the entry whose number follows `seq`."""

    def work(records: Records) -> bytes:
        part = records.revocations.between(seq, seq + 1, limit=2)
        assert part.reached is not None
        assert (part.size, part.reached.seq) == (1, seq + 1)
        (alike,) = part.groups
        return alike.identifier_hashes[0]

    return work


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_commit_that_fails_tells_nobody(database: Database) -> None:
    """Nothing is logged, nothing is in the feed, nobody is woken; the numbers go on where they were."""
    revoked, held = asyncio.Event(), Held()
    storage = SqlStorage(database, revoked)
    with watched(2), capture_logs() as lines:
        holding = asyncio.create_task(database.write(held.hold))
        await asyncio.sleep(0)
        writes = [asyncio.create_task(storage.write(end(sid))) for sid in ("s", "t")]
        await asyncio.sleep(0)
        held.release()
        outcomes = await asyncio.gather(holding, *writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1:]] == [DatabaseUnavailable] * 2
    assert {line["event"] for line in lines} == {"database_unavailable"}
    assert not revoked.is_set()
    assert (await storage.read(lambda records: records.revocations.head())).seq == 0
    assert await storage.write(end("s")) == "s"
    assert (await storage.read(lambda records: records.revocations.head())).seq == 2
