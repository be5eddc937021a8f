"""The audit trail in SQL, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from auth_service.model.caller import NOWHERE, Caller
from auth_service.model.security_event import Act, SecurityEvent, SecurityEventKind
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from tests.auth_service.stored import CALLER, NOW

OPENED = SecurityEventKind.SESSION_OPENED
REFUSED = SecurityEventKind.SIGN_IN_REFUSED


async def keep(storage: SqlStorage, *events: SecurityEvent) -> None:
    def append(records: Records) -> None:
        for event in events:
            records.security_events.append(event)

    await storage.write(append)


async def test_events_come_back_newest_first(storage: SqlStorage) -> None:
    """Every field survives; events of one instant keep their order; age and account narrow the list."""
    first = Act(NOW, CALLER).refused(REFUSED, reason="unknown_name")
    second = Act(NOW, CALLER, "alice").done(OPENED, sub="alice", sid="s", client_id="first-party")
    third = Act(NOW + 1, NOWHERE, "operator").done(SecurityEventKind.ACCOUNT_DISABLED, sub="bob")
    await keep(storage, first, second, third)
    newest = await storage.read(lambda records: records.security_events.newest())
    assert newest == [third, second, first]
    assert await storage.read(lambda records: records.security_events.newest(sub="alice")) == [second]
    assert await storage.read(lambda records: records.security_events.newest(since=NOW + 1)) == [third]
    assert await storage.read(lambda records: records.security_events.newest(limit=1)) == [third]


async def test_a_deleted_account_is_cut_from_its_events(storage: SqlStorage) -> None:
    """No event names the account, its sessions or where it signed in from; its events stay one person's, and
    others' stay as they were (hostile case: CVE-2026-42186)."""
    own = [Act(NOW, CALLER, "alice").done(OPENED, sub="alice", sid=f"s{number}") for number in range(2)]
    foreign = Act(NOW + 1, Caller("192.0.2.9", "other"), "bob").done(OPENED, sub="bob", sid="b")
    acted = Act(NOW + 2, CALLER, "alice").done(SecurityEventKind.ACCOUNT_DISABLED, sub="bob")
    await keep(storage, *own, foreign, acted)
    await storage.write(lambda records: records.security_events.pseudonymise("alice"))
    newest = list(await storage.read(lambda records: records.security_events.newest()))
    assert newest[1] == foreign
    assert {event.sub for event in newest[2:]} == {newest[0].actor}
    everything = repr([newest[0], *newest[2:]])
    assert "alice" not in everything
    assert "192.0.2.7" not in everything
    assert "s0" not in everything


async def test_old_events_are_swept_in_steps(storage: SqlStorage) -> None:
    """Only events before the line go, never more at a time than asked for."""
    await keep(storage, *(Act(NOW + age, CALLER).refused(REFUSED) for age in range(5)))
    swept = [
        await storage.write(lambda records: records.security_events.sweep(before=NOW + 3, limit=2)) for _ in range(3)
    ]
    assert swept == [2, 1, 0]
    assert len(await storage.read(lambda records: records.security_events.newest())) == 2
