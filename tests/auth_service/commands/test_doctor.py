"""`doctor`: what it says about the machine's clock."""

from __future__ import annotations

import re

import pytest

from auth_service.commands.doctor import clock_finding
from auth_service.model.caller import NOWHERE
from auth_service.model.security_event import OPERATOR, Act, SecurityEventKind
from auth_service.storage.storage import SqlStorage
from shared.clock import SystemClock
from shared.database import Database
from tests.clock import FrozenClock


@pytest.fixture
def has_clock(database: Database) -> bool:
    """Whether the database has a clock of its own."""
    return database.engine.dialect.name == "postgresql"


async def record_event(storage: SqlStorage, at: float) -> None:
    event = Act(at, NOWHERE, OPERATOR).done(SecurityEventKind.ACCOUNT_ENABLED)
    await storage.write(lambda records: records.security_events.append(event))


@pytest.mark.parametrize("seconds", [-360, 360])
async def test_a_clock_that_differs_is_reported(database: Database, *, has_clock: bool, seconds: int) -> None:
    """Either way, beside the server's clock; an SQLite file that says nothing yet has nothing to compare."""
    finding = await clock_finding(database, FrozenClock(SystemClock().now() + seconds))
    assert finding.ok is not has_clock
    if has_clock:
        # The server's clock goes on while this is asked.
        assert re.fullmatch(rf"3[56]\d s {'ahead of' if seconds > 0 else 'behind'} the database", finding.seen)
        assert finding.advice


async def test_a_clock_that_is_right_is_well(database: Database, storage: SqlStorage) -> None:
    """The event just recorded is no older than a moment."""
    await record_event(storage, SystemClock().now())
    assert (await clock_finding(database, SystemClock())).ok


@pytest.mark.parametrize(("difference", "ok"), [(-6.0, False), (-4.0, True), (86_400.0, True)])
async def test_events_of_the_future_show_a_clock_set_back(
    database: Database, storage: SqlStorage, *, has_clock: bool, difference: float, ok: bool
) -> None:
    """With SQLite: nobody recorded them before they happened. A quiet day shows nothing."""
    now = SystemClock().now()
    await record_event(storage, now - difference)
    finding = await clock_finding(database, FrozenClock(now))
    assert finding.ok is (ok or has_clock)
    if not finding.ok:
        assert finding.seen == "6 s behind the database"
