"""Sessions in SQL, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from auth_service.model.refresh_token import RefreshToken, new_successor_salt
from auth_service.model.session import EndReason, Rotated, Session
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from tests.auth_service.stored import NOW, POLICY, account, session

HALF_A_SECOND = 0.5


@pytest.fixture
async def sub(storage: SqlStorage) -> str:
    """The subject of an account that is stored."""
    stored = account()
    await storage.write(lambda records: records.accounts.add(stored))
    return stored.sub


async def keep(storage: SqlStorage, *sessions: Session) -> None:
    def add(records: Records) -> None:
        for one in sessions:
            records.sessions.add(one)

    await storage.write(add)


async def test_a_session_comes_back_as_it_was_stored(storage: SqlStorage, sub: str) -> None:
    """Every field survives storage: a new session, a rotated one, an ended one."""
    opened, first = session(sub)
    await keep(storage, opened)
    assert await storage.read(lambda records: records.sessions.find(opened.sid)) == opened

    outcome = opened.present(first, salt=new_successor_salt(), policy=POLICY, at=NOW + HALF_A_SECOND)
    assert isinstance(outcome, Rotated)
    await storage.write(lambda records: records.sessions.update(outcome.session))
    assert await storage.read(lambda records: records.sessions.find(opened.sid)) == outcome.session

    ended = outcome.session.end(EndReason.LOGOUT, at=NOW + 1)
    await storage.write(lambda records: records.sessions.update(ended))
    assert await storage.read(lambda records: records.sessions.find(opened.sid)) == ended


async def test_a_session_is_found_by_any_token_with_its_handle(storage: SqlStorage, sub: str) -> None:
    """The handle finds the session; whether the secret is any good is for the session to say."""
    opened, first = session(sub)
    await keep(storage, opened)
    older = RefreshToken(first.handle, bytes(32))
    stranger = RefreshToken(bytes(16), first.secret)
    found = await storage.write(
        lambda records: [records.sessions.hold_by_token(token) for token in (first, older, stranger)]
    )
    assert found == [opened, opened, None]
    known = await storage.read(lambda records: [records.sessions.knows(token) for token in (first, older, stranger)])
    assert known == [True, True, False]


async def test_a_session_belongs_to_an_account_that_exists(storage: SqlStorage) -> None:
    """A session of nobody cannot be stored: an account deleted meanwhile gets none."""
    with pytest.raises(IntegrityError):
        await keep(storage, session("nobody")[0])


async def test_only_what_goes_on_is_listed_as_live(storage: SqlStorage, sub: str) -> None:
    """Ended, idle and expired sessions are not listed; the one used last comes first. The boundary is the end."""
    early, late = session(sub)[0], session(sub, at=NOW + 5)[0]
    ended = session(sub)[0].end(EndReason.LOGOUT, at=NOW)
    await keep(storage, early, late, ended)
    idle_end = early.idle_expires_at

    async def live(at: float) -> list[str]:
        return [one.sid for one in await storage.read(lambda records: records.sessions.live_of(sub, at=at))]

    assert await live(NOW) == [late.sid, early.sid]
    assert await live(idle_end - HALF_A_SECOND) == [late.sid, early.sid]
    assert await live(idle_end) == [late.sid]


async def test_all_sessions_but_one_end_at_once(storage: SqlStorage, sub: str) -> None:
    """The kept session, sessions that are over and other accounts' sessions are left as they were."""
    other = account("other")
    await storage.write(lambda records: records.accounts.add(other))
    kept, dropped, over, foreign = session(sub)[0], session(sub)[0], session(sub)[0], session(other.sub)[0]
    over = over.end(EndReason.LOGOUT, at=NOW)
    await keep(storage, kept, dropped, over, foreign)
    ended = await storage.write(
        lambda records: records.sessions.end_all(sub, EndReason.PASSWORD_CHANGED, at=NOW + 1, except_sid=kept.sid)
    )
    assert ended == [dropped.sid]
    stored = await storage.read(
        lambda records: [records.sessions.find(one.sid) for one in (kept, dropped, over, foreign)]
    )
    assert stored == [kept, dropped.end(EndReason.PASSWORD_CHANGED, at=NOW + 1), over, foreign]
    assert await storage.write(lambda records: records.sessions.end_all(sub, EndReason.LOGOUT, at=NOW)) == [kept.sid]


async def test_old_sessions_are_swept_in_steps(storage: SqlStorage, sub: str) -> None:
    """Only what expired or was ended before the line goes, never more at a time than asked for."""
    live = session(sub)[0]
    expired = [session(sub, at=NOW - 20_000)[0] for _ in range(3)]
    ended = [session(sub)[0].end(EndReason.LOGOUT, at=NOW - 20) for _ in range(2)]
    recently = session(sub)[0].end(EndReason.LOGOUT, at=NOW - 5)
    await keep(storage, live, *expired, *ended, recently)
    swept = [await storage.write(lambda records: records.sessions.sweep(before=NOW - 10, limit=2)) for _ in range(4)]
    assert swept == [2, 2, 1, 0]
    left = await storage.read(lambda records: [records.sessions.find(one.sid) for one in (live, recently)])
    assert left == [live, recently]
