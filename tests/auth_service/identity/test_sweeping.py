"""Sweeping: what goes, what stays, and that nothing stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from auth_service.identity.sweeping import (
    BUDGET_RETENTION_SECONDS,
    DAY_SECONDS,
    LINK_RETENTION_SECONDS,
    PAUSE_SECONDS,
    ROUND_SECONDS,
    SESSION_RETENTION_SECONDS,
    STEP_ROWS,
    Retention,
    Sweeper,
    sweeping,
)
from auth_service.model.revocation import ENTRY_SECONDS
from auth_service.model.security_event import Act, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records
from auth_service.model.throttle import HOUR_SECONDS, BudgetKind, Charge
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.transactions import DatabaseUnavailable
from tests.auth_service.stored import CALLER, NOW, POLICY, account, password_link, session
from tests.clock import FrozenClock

T = TypeVar("T")

RETENTION = Retention(security_events=30 * DAY_SECONDS)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def sweeper(storage: SqlStorage, clock: FrozenClock, registry: CollectorRegistry) -> Sweeper:
    return Sweeper(storage, RETENTION, clock, registry)


async def event_ages(storage: SqlStorage, clock: FrozenClock) -> Sequence[float]:
    events = await storage.read(lambda records: records.security_events.newest(limit=1_000))
    return [clock.now() - event.at for event in events]


def add_events(records: Records, number: int, at: float) -> None:
    for _ in range(number):
        records.security_events.append(Act(at, CALLER).refused(SecurityEventKind.SIGN_IN_REFUSED))


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Let the background task get there, which it does without the clock."""
    for _ in range(1_000):
        if await reached():
            break
        await asyncio.sleep(0.005)
    assert await reached()


async def test_sessions_go_a_while_after_their_end(storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock) -> None:
    """One that ended or ran out is kept for a week, so that a late copy of its token is recognised; then it goes."""
    owner = account()
    going_on, ended, expired = (session(owner.sub)[0] for _ in range(3))
    ended = ended.end(EndReason.LOGOUT, at=NOW)
    going_on = replace(going_on, expires_at=NOW + 400 * DAY_SECONDS)

    def add(records: Records) -> None:
        records.accounts.add(owner)
        for one in (going_on, ended, expired):
            records.sessions.add(one)

    async def kept() -> list[bool]:
        return [
            await storage.read(lambda records, sid=one.sid: records.sessions.find(sid) is not None)  # type: ignore[misc]
            for one in (going_on, ended, expired)
        ]

    await storage.write(add)
    clock.advance(SESSION_RETENTION_SECONDS)
    await sweeper.sweep()
    assert await kept() == [True, True, True]
    clock.advance(1)
    assert (await sweeper.sweep())["sessions"] == 1
    assert await kept() == [True, False, True]
    clock.advance(POLICY.absolute_lifetime)
    assert (await sweeper.sweep())["sessions"] == 1
    assert await kept() == [True, False, False]


async def test_password_links_go_a_while_after_their_end(
    storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock
) -> None:
    """One that expired is kept for a week, so that whoever comes late with it is recognised; then it goes."""
    owner = account()
    link = password_link(owner, lifetime=600)

    def add(records: Records) -> None:
        records.accounts.add(owner)
        records.password_links.add(link)

    await storage.write(add)
    clock.advance(600 + LINK_RETENTION_SECONDS)
    assert (await sweeper.sweep())["password_links"] == 0
    clock.advance(1)
    assert (await sweeper.sweep())["password_links"] == 1
    assert await storage.read(lambda records: records.password_links.find(link.token_hash)) is None


async def test_events_go_when_the_setting_says(storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock) -> None:
    """Not before, and not those that came later."""
    await storage.write(lambda records: add_events(records, 2, NOW))
    clock.advance(RETENTION.security_events)
    await storage.write(lambda records: add_events(records, 1, clock.now()))
    assert (await sweeper.sweep())["security_events"] == 0
    clock.advance(1)
    assert (await sweeper.sweep())["security_events"] == 2
    assert await event_ages(storage, clock) == [1]


async def test_budgets_go_when_they_are_whole(storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock) -> None:
    """What still counts is never swept; what is whole goes once no clock can differ by so much."""
    unit = Charge.of(BudgetKind.ACCOUNT, 1, "alice")
    await storage.write(lambda records: records.budgets.charge([unit], at=clock.now()))
    clock.advance(HOUR_SECONDS + BUDGET_RETENTION_SECONDS - 1)
    assert (await sweeper.sweep())["budgets"] == 0
    clock.advance(2)
    assert (await sweeper.sweep())["budgets"] == 1


async def test_positions_in_status_lists_go_with_the_last_token(
    storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock
) -> None:
    """Of a session whose account was deleted: when no token of it can be accepted anywhere, and not before."""
    await storage.write(lambda records: records.status_lists.assign("s", expires_at=clock.now() + 100))
    clock.advance(100 + ENTRY_SECONDS)
    assert (await sweeper.sweep())["status_positions"] == 0
    clock.advance(1)
    assert (await sweeper.sweep())["status_positions"] == 1


async def test_much_goes_in_small_steps_with_pauses(
    storage: SqlStorage, sweeper: Sweeper, clock: FrozenClock, registry: CollectorRegistry
) -> None:
    """No transaction removes more than a step, and between two of them others have their turn."""
    await storage.write(lambda records: add_events(records, 2 * STEP_ROWS + 50, NOW))
    clock.advance(RETENTION.security_events + 1)

    async def fewer_than(rows: int) -> bool:
        return len(await event_ages(storage, clock)) < rows

    async with sweeping(sweeper):
        for rows in (STEP_ROWS + 50, 50, 0):
            await until(lambda rows=rows: fewer_than(rows + 1))  # type: ignore[misc]
            await asyncio.sleep(0.05)
            assert len(await event_ages(storage, clock)) == rows
            clock.advance(PAUSE_SECONDS)
    assert registry.get_sample_value("signet_swept_rows_total", {"kind": "security_events"}) == 2 * STEP_ROWS + 50


async def test_two_processes_sweep_together(
    storage: SqlStorage, second_database: Database, sweeper: Sweeper, clock: FrozenClock
) -> None:
    """Neither waits for the other or fails, and in the end nothing old is left."""
    other = Sweeper(SqlStorage(second_database), RETENTION, clock)
    await storage.write(lambda records: add_events(records, STEP_ROWS - 1, NOW))
    clock.advance(RETENTION.security_events + 1)
    swept = await asyncio.gather(*(each.sweep() for each in (sweeper, other) for _ in range(3)))
    await sweeper.sweep()
    assert sum(each["security_events"] for each in swept) <= STEP_ROWS - 1
    assert await event_ages(storage, clock) == []


class FailingStorage:
    """Storage that fails as often as it is told to."""

    def __init__(self, storage: SqlStorage, failures: list[Exception]) -> None:
        self._storage = storage
        self._failures = failures

    async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
        return await self._storage.read(work, vital=vital)

    async def write(self, work: Callable[[Records], T], *, durable: bool = True) -> T:
        if self._failures:
            raise self._failures.pop(0)
        return await self._storage.write(work, durable=durable)


async def test_sweeping_goes_on_after_a_failure(storage: SqlStorage, clock: FrozenClock) -> None:
    """A database that is away, or a fault of ours, is logged; the next round does the work, and says so."""
    await storage.write(lambda records: add_events(records, 1, NOW))
    clock.advance(RETENTION.security_events + 1)
    failing = FailingStorage(storage, [DatabaseUnavailable("gone"), ZeroDivisionError()])
    with capture_logs() as lines:

        async def said(lines_in_all: int) -> bool:
            return len(lines) == lines_in_all

        async with sweeping(Sweeper(failing, RETENTION, clock)):
            for round_number in (1, 2, 3):
                await until(lambda number=round_number: said(number))  # type: ignore[misc]
                await asyncio.sleep(0)
                clock.advance(ROUND_SECONDS)
    assert [line["event"] for line in lines] == ["sweeping_postponed", "sweeping_failed", "rows_swept"]
    assert lines[2] == {"event": "rows_swept", "log_level": "info", "security_events": 1}


async def test_sweeping_ends_with_its_block(sweeper: Sweeper) -> None:
    """Nothing is left running."""
    before = asyncio.all_tasks()
    async with sweeping(sweeper):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before
