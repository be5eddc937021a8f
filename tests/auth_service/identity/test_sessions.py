"""Sessions: opened, continued by refresh tokens, ended; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from auth_service.identity.sessions import Ending, OpenSession, RefreshRequest, Sessions
from auth_service.model.account import Account
from auth_service.model.caller import Caller
from auth_service.model.refresh_token import RefreshToken
from auth_service.model.security_event import Act, Outcome, SecurityEvent, SecurityEventKind
from auth_service.model.session import MAX_SESSIONS, EndReason, Refusal
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import metadata
from shared.database import Database
from shared.scope import Scope
from tests.auth_service.stored import CALLER, GRANT, NOW, POLICY, account
from tests.clock import FrozenClock

THIEF = Caller("198.51.100.66", "curl/6.66")
SIGN_OUT = Ending(EndReason.ENDED_BY_USER, "alice", CALLER)


@pytest.fixture
async def alice(storage: SqlStorage) -> Account:
    stored = account("alice")
    await storage.write(lambda records: records.accounts.add(stored))
    return stored


@pytest.fixture
async def opened(sessions: Sessions, alice: Account) -> OpenSession:
    return await open_session(sessions, alice)


async def open_session(sessions: Sessions, owner: Account) -> OpenSession:
    result = await sessions.open(owner, GRANT, CALLER)
    assert result is not None
    return result


def request(token: RefreshToken, client_id: str = GRANT.client_id, **asked: object) -> RefreshRequest:
    return RefreshRequest(token.clear_text(), client_id, **asked)  # type: ignore[arg-type]


async def refresh(sessions: Sessions, token: RefreshToken, caller: Caller = CALLER) -> RefreshToken | Refusal:
    result = await sessions.refresh(request(token), caller)
    return result if isinstance(result, Refusal) else result.refresh_token


async def refreshed(sessions: Sessions, token: RefreshToken) -> RefreshToken:
    successor = await refresh(sessions, token)
    assert isinstance(successor, RefreshToken)
    return successor


async def events(storage: SqlStorage) -> Sequence[SecurityEvent]:
    return await storage.read(lambda records: records.security_events.newest())


async def test_an_opened_session_is_stored_with_its_event(
    sessions: Sessions, opened: OpenSession, alice: Account, storage: SqlStorage
) -> None:
    """It belongs to who signed in, is granted what was asked, and the trail knows from where it was opened."""
    assert await sessions.live(opened.session.sid) == opened.session
    assert (opened.session.sub, opened.session.grant, opened.session.opened_from) == (alice.sub, GRANT, CALLER)
    expected = Act(NOW, CALLER, alice.sub).done(
        SecurityEventKind.SESSION_OPENED, sub=alice.sub, sid=opened.session.sid, client_id=GRANT.client_id
    )
    assert await events(storage) == [expected]


@pytest.mark.parametrize("change", ["disabled", "deleted", "password"])
async def test_who_is_no_longer_proved_gets_no_session(
    sessions: Sessions, alice: Account, storage: SqlStorage, change: str
) -> None:
    """Disabled, deleted or given another password since the proof: nothing is opened."""
    if change == "deleted":
        await storage.write(lambda records: records.accounts.delete(alice.sub))
    else:
        now = alice.disabled() if change == "disabled" else alice.with_password("$new", at=NOW)
        await storage.write(lambda records: records.accounts.update(now))
    assert await sessions.open(alice, GRANT, CALLER) is None
    assert await sessions.live_of(alice.sub) == []


async def test_a_refresh_gives_the_account_as_it_is_now(
    sessions: Sessions, opened: OpenSession, alice: Account, storage: SqlStorage, clock: FrozenClock
) -> None:
    """The next access token is built from today's account, and the session remembers its last use."""
    renamed = account("alice", sub=alice.sub, name="Alice Renamed")
    await storage.write(lambda records: records.accounts.update(renamed))
    clock.advance(5)
    result = await sessions.refresh(request(opened.refresh_token), CALLER)
    assert isinstance(result, OpenSession)
    assert result.account == renamed
    assert result.session == await sessions.live(opened.session.sid)
    assert result.session.last_used_at == clock.now()


async def test_the_parent_gets_the_same_successor_again(
    sessions: Sessions, opened: OpenSession, clock: FrozenClock
) -> None:
    """A lost answer is asked for again inside the grace: the same token, and the session is as it was."""
    successor = await refreshed(sessions, opened.refresh_token)
    stored = await sessions.live(opened.session.sid)
    clock.advance(POLICY.grace)
    assert await refreshed(sessions, opened.refresh_token) == successor
    assert await sessions.live(opened.session.sid) == stored
    assert await refreshed(sessions, successor) not in (successor, opened.refresh_token)


@pytest.mark.parametrize("case", ["after_grace", "successor_used", "grandparent", "made_up"])
async def test_a_copy_ends_the_session_and_is_remembered(
    sessions: Sessions, opened: OpenSession, storage: SqlStorage, clock: FrozenClock, case: str
) -> None:
    """The refusal is stored before it is answered: the session is over for the thief and for the owner, and the trail
    says from where the copy came (RFC 9700 section 4.14.2)."""
    first = opened.refresh_token
    newest = await refreshed(sessions, first)
    if case == "after_grace":
        clock.advance(POLICY.grace + 0.001)
    elif case != "made_up":
        newest = await refreshed(sessions, newest)
    if case == "grandparent":
        newest = await refreshed(sessions, newest)
    copy = RefreshToken(first.handle, bytes(32)) if case == "made_up" else first
    assert await refresh(sessions, copy, THIEF) is Refusal.REUSED
    assert await sessions.live(opened.session.sid) is None
    assert await refresh(sessions, newest) is Refusal.ENDED
    newest_event = (await events(storage))[0]
    assert (newest_event.kind, newest_event.outcome) == (SecurityEventKind.REFRESH_TOKEN_REUSED, Outcome.REFUSED)
    assert (newest_event.sid, newest_event.caller) == (opened.session.sid, THIEF)


async def test_a_copy_ends_one_session_only(sessions: Sessions, opened: OpenSession, alice: Account) -> None:
    """Other sign-ins of the account go on."""
    other = await open_session(sessions, alice)
    assert await refresh(sessions, RefreshToken(opened.refresh_token.handle, bytes(32))) is Refusal.REUSED
    assert [one.sid for one in await sessions.live_of(alice.sub)] == [other.session.sid]


@pytest.mark.parametrize("text", ["", "x", "signet_refresh_", "null", "\ud800", "\x00", "é" * 100, "x" * 100_000])
async def test_what_is_no_token_is_unknown(sessions: Sessions, text: str) -> None:
    """Garbage is refused like a token that nobody knows."""
    assert await sessions.refresh(RefreshRequest(text, GRANT.client_id), CALLER) is Refusal.UNKNOWN
    assert not await sessions.end_by_token(text, CALLER)


async def test_a_strangers_token_is_unknown(sessions: Sessions, opened: OpenSession, storage: SqlStorage) -> None:
    """A well-formed token of no session ends nothing and leaves no trace: anybody can make as many as they like."""
    before = await events(storage)
    assert await refresh(sessions, RefreshToken.new()) is Refusal.UNKNOWN
    assert await refresh(sessions, RefreshToken(bytes(16), opened.refresh_token.secret)) is Refusal.UNKNOWN
    assert await events(storage) == before
    assert isinstance(await refresh(sessions, opened.refresh_token), RefreshToken)


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"client_id": "another"}, Refusal.OTHER_CLIENT),
        ({"client_id": ""}, Refusal.OTHER_CLIENT),
        ({"scope": Scope("data:read", "data:delete")}, Refusal.SCOPE_EXCEEDED),
        ({"scope": Scope("profile")}, Refusal.SCOPE_EXCEEDED),
        ({"audience": "http://localhost:8003"}, Refusal.OTHER_RESOURCE),
        ({"audience": ""}, Refusal.OTHER_RESOURCE),
    ],
)
async def test_a_refused_request_uses_nothing_up(
    sessions: Sessions, opened: OpenSession, wrong: dict[str, object], refusal: Refusal
) -> None:
    """Another client, more scope or another resource is refused; the token is still good for what it is good for
    (hostile cases: CVE-2026-28513, CVE-2024-52287)."""
    assert await sessions.refresh(request(opened.refresh_token, **wrong), CALLER) is refusal  # type: ignore[arg-type]
    assert await sessions.live(opened.session.sid) == opened.session
    assert isinstance(await refresh(sessions, opened.refresh_token), RefreshToken)


async def test_a_copy_ends_the_session_whatever_else_is_wrong(sessions: Sessions, opened: OpenSession) -> None:
    """A copy cannot hide behind a request that is refused for another reason."""
    copy = RefreshToken(opened.refresh_token.handle, bytes(32))
    wrong = request(copy, "another", scope=Scope("everything"), audience="elsewhere")
    assert await sessions.refresh(wrong, THIEF) is Refusal.REUSED
    assert await sessions.live(opened.session.sid) is None


async def test_less_scope_may_be_asked_for(sessions: Sessions, opened: OpenSession) -> None:
    """The session keeps its whole scope for the next time (RFC 6749 section 6)."""
    narrow = request(opened.refresh_token, scope=Scope("data:read"), audience=GRANT.audience)
    result = await sessions.refresh(narrow, CALLER)
    assert isinstance(result, OpenSession)
    assert result.session.grant == GRANT


async def test_a_disabled_account_does_not_refresh(
    sessions: Sessions, opened: OpenSession, alice: Account, storage: SqlStorage
) -> None:
    """Also when its sessions were not ended with it (hostile case: CVE-2026-1609)."""
    await storage.write(lambda records: records.accounts.update(alice.disabled()))
    assert await refresh(sessions, opened.refresh_token) is Refusal.ACCOUNT_CLOSED


async def test_an_expired_session_does_not_refresh(
    sessions: Sessions, opened: OpenSession, clock: FrozenClock, alice: Account
) -> None:
    """Idle for too long: refused, not listed, and the clock going back does not matter for that instant."""
    clock.advance(POLICY.idle_timeout)
    assert await refresh(sessions, opened.refresh_token) is Refusal.EXPIRED
    assert await sessions.live(opened.session.sid) is None
    assert await sessions.live_of(alice.sub) == []


async def test_a_session_is_ended_by_its_owner_only(
    sessions: Sessions, opened: OpenSession, alice: Account, storage: SqlStorage
) -> None:
    """With another account's name, or none of its own, nothing ends; afterwards it does, once."""
    sid = opened.session.sid
    assert not await sessions.end(sid, SIGN_OUT, of="mallory")
    for unknown in ("A" * 22, "", "\x00" * 22, "\ud800" * 22, "é" * 22, f"{sid}\n", sid * 1_000):
        assert not await sessions.end(unknown, SIGN_OUT)
    assert await sessions.end(sid, SIGN_OUT, of=alice.sub)
    assert not await sessions.end(sid, SIGN_OUT, of=alice.sub)
    assert await refresh(sessions, opened.refresh_token) is Refusal.ENDED
    ended = [event for event in await events(storage) if event.kind is SecurityEventKind.SESSION_ENDED]
    assert [(event.sid, event.actor, event.detail) for event in ended] == [(sid, "alice", {"reason": "ended_by_user"})]


async def test_a_session_that_ran_out_can_still_be_ended(
    sessions: Sessions, opened: OpenSession, clock: FrozenClock
) -> None:
    """An access token of it may live a little longer than the session: signing out must end that, too."""
    clock.advance(POLICY.idle_timeout)
    assert await sessions.end(opened.session.sid, SIGN_OUT)


async def test_any_token_of_a_session_signs_it_out(sessions: Sessions, opened: OpenSession) -> None:
    """The newest, the parent or an older one: who holds it may end the session, and it stays ended."""
    await refreshed(sessions, await refreshed(sessions, opened.refresh_token))
    assert await sessions.end_by_token(opened.refresh_token.clear_text(), CALLER)
    assert not await sessions.end_by_token(opened.refresh_token.clear_text(), CALLER)
    assert await sessions.live(opened.session.sid) is None


async def test_all_sessions_but_one_are_ended(
    sessions: Sessions, opened: OpenSession, alice: Account, storage: SqlStorage
) -> None:
    """Each ended session has its event."""
    others = [await open_session(sessions, alice) for _ in range(2)]
    assert await sessions.end_all(alice.sub, SIGN_OUT, except_sid=opened.session.sid) == 2
    assert [one.sid for one in await sessions.live_of(alice.sub)] == [opened.session.sid]
    ended = [event.sid for event in await events(storage) if event.kind is SecurityEventKind.SESSION_ENDED]
    assert sorted(ended, key=str) == sorted(other.session.sid for other in others)


async def test_an_account_has_a_bounded_number_of_sessions(
    sessions: Sessions, alice: Account, clock: FrozenClock, storage: SqlStorage
) -> None:
    """One sign-in more than there may be sessions ends the one not used for longest, and only that; it is in the trail
    and in the feed like any other ending."""
    opened = []
    for _ in range(MAX_SESSIONS):
        opened.append(await open_session(sessions, alice))
        clock.advance(1)
    await refreshed(sessions, opened[0].refresh_token)
    clock.advance(1)
    await open_session(sessions, alice)
    going_on = {one.sid for one in await sessions.live_of(alice.sub)}
    assert len(going_on) == MAX_SESSIONS
    assert opened[0].session.sid in going_on
    assert opened[1].session.sid not in going_on
    assert await refresh(sessions, opened[1].refresh_token) is Refusal.ENDED
    (event,) = [event for event in await events(storage) if event.kind is SecurityEventKind.SESSION_ENDED]
    assert (event.sid, event.detail["reason"]) == (opened[1].session.sid, "crowded_out")


async def test_the_database_holds_no_usable_token(sessions: Sessions, opened: OpenSession, database: Database) -> None:
    """No row contains a token, its handle or its secret, in clear, as bytes or as hex (hostile: CVE-2024-56362)."""
    tokens = [opened.refresh_token]
    for _ in range(2):
        tokens.append(await refreshed(sessions, tokens[-1]))
    with database.engine.connect() as connection:
        rows = [row for table in metadata.sorted_tables for row in connection.execute(select(table))]
    dump = b"|".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for row in rows for value in row
    )
    for token in tokens:
        for part in (token.handle, token.secret):
            assert part not in dump
            assert part.hex().encode() not in dump
        assert token.clear_text().encode() not in dump


async def race(services: Sequence[Sessions], token: RefreshToken, times: int) -> set[RefreshToken | Refusal]:
    """What `times` uses of one token at once are answered with."""
    answers = await asyncio.gather(*(refresh(services[index % len(services)], token) for index in range(times)))
    return set(answers)


async def test_concurrent_uses_of_one_token_have_one_successor(
    sessions: Sessions, opened: OpenSession, second_database: Database, clock: FrozenClock
) -> None:
    """A hundred uses over two processes' connections, ten times in a row: one successor each time, and nobody is
    signed out (hostile case: CVE-2026-1035)."""
    both = [sessions, Sessions(SqlStorage(second_database), POLICY, clock)]
    token = opened.refresh_token
    for _ in range(10):
        answers = await race(both, token, 100)
        assert len(answers) == 1
        successor = answers.pop()
        assert isinstance(successor, RefreshToken)
        token = successor
    stored = await sessions.live(opened.session.sid)
    assert stored is not None
    assert stored.chain.generation == 10


async def test_a_copy_in_a_crowd_ends_the_session_for_all(
    sessions: Sessions, opened: OpenSession, second_database: Database, clock: FrozenClock
) -> None:
    """Uses of the newest token and of one two generations older at once: in the end the session is over, and whoever
    got a successor has one that is not honoured."""
    both = [sessions, Sessions(SqlStorage(second_database), POLICY, clock)]
    newest = await refreshed(sessions, await refreshed(sessions, opened.refresh_token))
    uses = [newest, opened.refresh_token] * 10
    answers = await asyncio.gather(*(refresh(both[index % 2], token) for index, token in enumerate(uses)))
    assert answers.count(Refusal.REUSED) == 1
    assert await sessions.live(opened.session.sid) is None
    for successor in {answer for answer in answers if isinstance(answer, RefreshToken)}:
        assert await refresh(sessions, successor) is Refusal.ENDED


async def test_an_ending_wins_over_refreshes_that_run_with_it(
    sessions: Sessions, opened: OpenSession, alice: Account, second_database: Database, clock: FrozenClock
) -> None:
    """Refreshes and endings of several sessions at once: no deadlock, and afterwards none of them goes on."""
    other = Sessions(SqlStorage(second_database), POLICY, clock)
    several = [opened, *[await open_session(sessions, alice) for _ in range(4)]]
    refreshes = [other.refresh(request(one.refresh_token), CALLER) for one in several * 4]
    endings = [service.end_all(alice.sub, SIGN_OUT) for service in (sessions, other) for _ in range(3)]
    await asyncio.gather(*refreshes, *endings)
    assert await sessions.live_of(alice.sub) == []
    for one in several:
        assert await refresh(sessions, one.refresh_token) is Refusal.ENDED


@pytest.mark.parametrize("token_is_known", [True, False])
async def test_tokens_survive_a_restart(
    opened: OpenSession, database_url: str, clock: FrozenClock, token_is_known: bool
) -> None:
    """Another process on the same database continues the session, also after an answer that was lost with the first."""
    first_process = Database.open(database_url)
    successor = await refreshed(Sessions(SqlStorage(first_process), POLICY, clock), opened.refresh_token)
    await first_process.close()
    second_process = Database.open(database_url)
    sessions = Sessions(SqlStorage(second_process), POLICY, clock)
    if not token_is_known:
        assert await refreshed(sessions, opened.refresh_token) == successor
    assert isinstance(await refresh(sessions, successor), RefreshToken)
    await second_process.close()
