"""Storage that fails: the n-th database call of each endpoint, for every n, and databases that are locked, full,
read-only or restarted (issue 4, shown-point 3; hostile cases, Storage).

What holds: the answer is 503 with Retry-After, nothing is granted that is not stored, nothing is reported ended that
still works, and the service recovers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Pool, event, select
from sqlalchemy.exc import OperationalError

import shared.sqlite_engine
from auth_service.model.refresh_token import RefreshToken
from auth_service.settings import AuthSettings
from auth_service.storage.tables import throttle_budgets
from shared.database import Database, parse_database_url
from tests.auth_service.endpoints.state import make_link
from tests.auth_service.running import (
    EACH_DATABASE,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    Tokens,
    assert_refused,
    running_auth,
)
from tests.clock import FrozenClock
from tests.postgresql import PostgreSQL
from tests.wire import Reply

MAX_CALLS = 60
"""No endpoint makes as many; a scenario that gets there never succeeds."""
RECOVERY_SECONDS = 5
"""Issue 4: recovery without a restart within 5 s."""


class Faults:
    """Makes one database call of the service fail: a statement, a BEGIN, or a COMMIT.

    With `answer_lost` a COMMIT is done all the same, and only its success does not come back.
    """

    def __init__(self, *, answer_lost: bool) -> None:
        self._answer_lost = answer_lost
        self._left = 0
        self.struck = False

    def arm(self, number: int) -> None:
        """The `number`-th call from now on fails."""
        self._left, self.struck = number, False

    def disarm(self) -> None:
        self._left = 0

    def on_statement(self, _cursor: object, _statement: str, _parameters: object, context: Any) -> None:
        if self._strikes():
            raise context.dialect.loaded_dbapi.OperationalError("disk I/O error")

    def on_commit(self, connection: Connection) -> None:
        if self._strikes():
            if self._answer_lost:
                connection.connection.commit()
            cause = connection.dialect.loaded_dbapi.OperationalError("disk I/O error")
            raise OperationalError(None, None, cause)

    def _strikes(self) -> bool:
        if self._left == 0:
            return False
        self._left -= 1
        self.struck = self._left == 0
        return self.struck


@contextlib.contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """Let every engine of this process ask `faults`."""
    listeners: list[tuple[str, Callable[..., None]]] = [
        ("do_execute", faults.on_statement),
        ("do_executemany", faults.on_statement),
        ("commit", faults.on_commit),
    ]
    for name, listener in listeners:
        event.listen(Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners:
            event.remove(Engine, name, listener)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with two sessions; `spent` are the tokens that the first session's refresh token has replaced, `link` is
    the token of a password link."""

    name: str
    first: Tokens
    second: Tokens
    spent: tuple[str, ...] = ()
    link: str = ""


async def new_user(auth: AuthClient, name: str) -> User:
    await auth.register(name)
    return User(name, await auth.login(name), await auth.login(name))


async def is_live(auth: AuthClient, tokens: Tokens) -> bool:
    """Whether the session works: its access token and its refresh token agree on that."""
    listed = await auth.get("/sessions", token=tokens.access_token)
    refreshed = await auth.refresh(tokens.refresh_token)
    assert (listed.status, refreshed.status) in ((200, 200), (401, 400))
    return refreshed.status == 200


async def knows(auth: AuthClient, user: User, password: str) -> bool:
    reply = await auth.post("/login", {"username": user.name, "password": password})
    assert reply.status in (200, 401)
    return reply.status == 200


async def live_sessions(auth: AuthClient, user: User) -> int:
    reply = await auth.get("/sessions", token=user.second.access_token)
    assert reply.status == 200
    return len(reply.json()["sessions"])


@dataclass(frozen=True, slots=True)
class Scenario:
    """One request, what it answers when all goes well, and what must hold after it was answered or was not.

    `check(auth, user, done, unknown)`: whether the answer came, and, when not, whether the work may be stored
    nevertheless because only the success of a COMMIT was lost.
    """

    name: str
    success: int
    send: Callable[[AuthClient, User], Awaitable[Reply]]
    check: Callable[[AuthClient, User, bool, bool], Awaitable[None]]
    prepare: Callable[[AuthClient, str], Awaitable[User]] = new_user
    by_link: bool = False


async def unregistered(_auth: AuthClient, name: str) -> User:
    """Nobody has the name yet."""
    nobody = Tokens("", "", "", 0)
    return User(name, nobody, nobody)


async def after_registration(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
    registered = await knows(auth, user, PASSWORD)
    assert registered is done or unknown
    if not registered:
        await auth.register(user.name)
        await auth.login(user.name)


async def after_sign_in(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
    assert await live_sessions(auth, user) in ({3} if done else {2, 3} if unknown else {2})
    assert await knows(auth, user, PASSWORD)


async def after_wrong_credentials(auth: AuthClient, user: User, _done: bool, _unknown: bool) -> None:
    assert await live_sessions(auth, user) == 2
    assert await knows(auth, user, PASSWORD)


async def after_refresh(auth: AuthClient, user: User, _done: bool, _unknown: bool) -> None:
    # Whether or not it was stored, an honest client that comes again gets the one successor, and goes on with it.
    again = await auth.refreshed(user.first.refresh_token)
    onward = await auth.refreshed(again.refresh_token)
    assert onward.sid == user.first.sid
    assert await live_sessions(auth, user) == 2


async def with_copied_token(auth: AuthClient, name: str) -> User:
    """The first session has gone on, and somebody has a copy of its first refresh token."""
    user = await new_user(auth, name)
    second = await auth.refreshed(user.first.refresh_token)
    third = await auth.refreshed(second.refresh_token)
    return User(name, third, user.second, spent=(user.first.refresh_token, second.refresh_token))


async def after_replay(auth: AuthClient, user: User, done: bool, _unknown: bool) -> None:
    if not done:
        assert_refused(await auth.refresh(user.spent[0]), 400, "invalid_grant")
    assert not await is_live(auth, user.first)
    assert await is_live(auth, user.second)


def after_ending(again: Callable[[AuthClient, User], Awaitable[Reply]]) -> Callable[..., Awaitable[None]]:
    """The first session is over when that was said; else it goes on, unless its end is stored; again ends it."""

    async def check(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
        if not done:
            listed = await auth.get("/sessions", token=user.first.access_token)
            assert listed.status in ({200, 401} if unknown else {200})
            assert (await again(auth, user)).status in (200, 204, 401, 404)
        assert not await is_live(auth, user.first)
        assert await is_live(auth, user.second)

    return check


async def after_revoked_access_token(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
    listed = await auth.get("/sessions", token=user.first.access_token)
    assert listed.status in ({401} if done else {200, 401} if unknown else {200})
    assert (await auth.refresh(user.first.refresh_token)).status == 200


async def after_password_change(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
    changed = await knows(auth, user, NEW_PASSWORD)
    assert await knows(auth, user, PASSWORD) is not changed
    assert changed is done or unknown
    assert await is_live(auth, user.first)
    assert await is_live(auth, user.second) is not changed


async def after_looking(auth: AuthClient, user: User, _done: bool, _unknown: bool) -> None:
    assert await is_live(auth, user.first)


def register(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/register", {"username": user.name, "password": PASSWORD})


def sign_in(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/login", {"username": user.name, "password": PASSWORD})


def guess_password(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/login", {"username": user.name, "password": NEW_PASSWORD})


def guess_name(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/login", {"username": f"un{user.name}", "password": PASSWORD})


def refresh(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.refresh(user.first.refresh_token)


def refresh_with_a_copy(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.refresh(user.spent[0])


def log_out(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/logout", token=user.first.access_token)


def log_out_by_refresh_token(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post("/logout", {"refresh_token": user.first.refresh_token})


def end_session(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.call("DELETE", f"/sessions/{user.first.sid}", token=user.second.access_token)


def revoke(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post_form("/revoke", {"token": user.first.refresh_token})


def revoke_access_token(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.post_form("/revoke", {"token": user.first.access_token})


def change_password(auth: AuthClient, user: User) -> Awaitable[Reply]:
    wanted = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    return auth.post("/password", wanted, token=user.first.access_token)


async def after_choosing_a_password(auth: AuthClient, user: User, done: bool, unknown: bool) -> None:
    changed = await knows(auth, user, NEW_PASSWORD)
    assert await knows(auth, user, PASSWORD) is not changed
    assert changed is done or unknown
    for tokens in (user.first, user.second):
        assert await is_live(auth, tokens) is not changed
    # The link is good for as long as the password is the old one.
    assert (await choose_password(auth, user)).status == (404 if changed else 303)


async def after_opening_a_link(auth: AuthClient, user: User, _done: bool, _unknown: bool) -> None:
    assert (await choose_password(auth, user)).status == 303


def choose_password(auth: AuthClient, user: User) -> Awaitable[Reply]:
    form = {"token": user.link, "new_password": NEW_PASSWORD, "repeated_password": NEW_PASSWORD}
    return auth.post_form("/set-password", form)


def open_link(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.get(f"/set-password?token={user.link}")


def list_sessions(auth: AuthClient, user: User) -> Awaitable[Reply]:
    return auth.get("/sessions", token=user.first.access_token)


SCENARIOS = [
    Scenario("register", 201, register, after_registration, unregistered),
    Scenario("sign in", 200, sign_in, after_sign_in),
    Scenario("wrong password", 401, guess_password, after_wrong_credentials),
    Scenario("unknown name", 401, guess_name, after_wrong_credentials),
    Scenario("refresh", 200, refresh, after_refresh),
    Scenario("refresh with a copy", 400, refresh_with_a_copy, after_replay, with_copied_token),
    Scenario("logout", 204, log_out, after_ending(log_out)),
    Scenario("logout by refresh token", 204, log_out_by_refresh_token, after_ending(log_out_by_refresh_token)),
    Scenario("end a session", 204, end_session, after_ending(end_session)),
    Scenario("revoke", 200, revoke, after_ending(revoke)),
    Scenario("revoke an access token", 200, revoke_access_token, after_revoked_access_token),
    Scenario("change the password", 204, change_password, after_password_change),
    Scenario("choose a password", 303, choose_password, after_choosing_a_password, by_link=True),
    Scenario("open a password link", 200, open_link, after_opening_a_link, by_link=True),
    Scenario("list the sessions", 200, list_sessions, after_looking),
]


@pytest.fixture
async def auth(
    auth_settings: AuthSettings, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AuthClient]:
    """The service without what works in its background: only the calls of requests are to be counted."""
    for background in ("following", "sweeping"):
        monkeypatch.setattr(f"auth_service.app.{background}", lambda _worker: contextlib.nullcontext())
    async with running_auth(auth_settings, clock) as client:
        yield client


@pytest.mark.parametrize("answer_lost", [False, True], ids=["call fails", "answer lost"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@EACH_DATABASE
async def test_each_database_call_may_fail(
    auth: AuthClient, auth_settings: AuthSettings, scenario: Scenario, answer_lost: bool
) -> None:
    """For n = 1, 2, ... until the request succeeds: 503, and everything is as if it had not been sent; where the
    answer to a COMMIT was lost, as if it had been sent or had not, and nothing in between."""
    faults = Faults(answer_lost=answer_lost)
    with injected(faults):
        for number in range(1, MAX_CALLS):
            user = await scenario.prepare(auth, f"user-{number}")
            if scenario.by_link:
                user = replace(user, link=await make_link(auth_settings, user.name))
            faults.arm(number)
            reply = await scenario.send(auth, user)
            faults.disarm()
            if not faults.struck:
                assert reply.status == scenario.success
                await scenario.check(auth, user, True, False)
                assert number > 1
                return
            assert_refused(reply, 503, "temporarily_unavailable")
            await scenario.check(auth, user, False, answer_lost)
    raise AssertionError("it never succeeds")


async def stored_budgets(settings: AuthSettings) -> dict[bytes, float]:
    """When each budget that has a row will be whole."""
    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    try:
        rows = await database.read(lambda connection: connection.execute(select(throttle_budgets)).all())
    finally:
        await database.close()
    return {bytes(row.budget_key): row.full_at for row in rows}


@pytest.mark.parametrize("answer_lost", [False, True], ids=["call fails", "answer lost"])
@EACH_DATABASE
async def test_a_rightful_sign_in_that_fails_costs_nothing(
    auth: AuthClient, auth_settings: AuthSettings, answer_lost: bool
) -> None:
    """Whatever call fails: who retries during an outage does not run out of attempts by that. Nothing is given back
    twice, either. (Where the answer to the charge itself is lost, nobody knows what there is to give back.)"""
    user, now = await new_user(auth, "alice"), auth.clock.now()
    before, lost = await stored_budgets(auth_settings), 0
    faults = Faults(answer_lost=answer_lost)
    with injected(faults):
        for number in range(1, MAX_CALLS):
            faults.arm(number)
            reply = await sign_in(auth, user)
            faults.disarm()
            after = await stored_budgets(auth_settings)
            changes = {after.get(key, now) - before.get(key, now) for key in before.keys() | after.keys()}
            lost += max(changes) > 0.01
            assert min(changes) > -0.01
            assert lost <= answer_lost
            before = after
            if not faults.struck:
                assert reply.status == 200
                return
            assert_refused(reply, 503, "temporarily_unavailable")
    raise AssertionError("it never succeeds")


# Databases that are really locked, full, read-only or gone.


@dataclass(slots=True)
class Pragma:
    """A statement that each SQLite connection gets before it is used; empty for none."""

    text: str = ""

    def on_checkout(self, connection: Any, _record: object, _proxy: object) -> None:
        if self.text:
            connection.execute(f"PRAGMA {self.text}").fetchall()


@pytest.fixture
def pragma() -> Iterator[Pragma]:
    setting = Pragma()
    event.listen(Pool, "checkout", setting.on_checkout)
    yield setting
    event.remove(Pool, "checkout", setting.on_checkout)


async def write_everywhere(auth: AuthClient, user: User) -> Sequence[Reply]:
    """One request to each endpoint that writes; those that could end the user's sessions come to nothing."""
    return [
        await auth.post("/register", {"username": f"{user.name}-other", "password": PASSWORD}),
        await sign_in(auth, user),
        await auth.refresh(user.first.refresh_token),
        await auth.post("/password", {"current_password": "wrong", "new_password": "x"}, token=user.first.access_token),
    ]


async def assert_made_up_tokens_are_refused(auth: AuthClient) -> None:
    """What nobody was ever given is found out by reading: it takes no turn from those who write."""
    made_up = RefreshToken.new().clear_text()
    assert_refused(await auth.refresh(made_up), 400, "invalid_grant")
    assert (await auth.post_form("/revoke", {"token": made_up})).status == 200
    assert (await auth.post("/logout", {"refresh_token": made_up})).status == 204


async def served_again(auth: AuthClient, user: User) -> None:
    """Sign in until it works, which must not take long."""
    begun = time.perf_counter()
    while (await sign_in(auth, user)).status != 200:
        assert time.perf_counter() - begun < RECOVERY_SECONDS
        await asyncio.sleep(0.05)


async def assert_whole(auth: AuthClient, user: User) -> None:
    """The sessions from before go on."""
    assert await is_live(auth, user.first)
    assert await is_live(auth, user.second)


async def test_a_file_that_is_read_only(auth: AuthClient, pragma: Pragma) -> None:
    """Writing is 503, reading goes on; afterwards all is well without a restart."""
    user = await new_user(auth, "alice")
    pragma.text = "query_only = ON"
    for reply in await write_everywhere(auth, user):
        assert_refused(reply, 503, "temporarily_unavailable")
    for path in ("/livez", "/.well-known/jwks.json"):
        assert (await auth.get(path)).status == 200
    assert (await auth.get("/sessions", token=user.first.access_token)).status == 200
    pragma.text = "query_only = OFF"
    await served_again(auth, user)
    await assert_whole(auth, user)


async def test_a_full_disk(auth: AuthClient, pragma: Pragma) -> None:
    """What needs room is 503, and all that was granted before the room was used up is good; so it is afterwards."""
    user = await new_user(auth, "alice")
    pragma.text = "max_page_count = 1"  # no more pages than there are
    granted = []
    while (reply := await sign_in(auth, user)).status != 503:
        granted.append(Tokens.of(reply))
        assert len(granted) < MAX_CALLS
    assert_refused(reply, 503, "temporarily_unavailable")
    assert {reply.status for reply in await write_everywhere(auth, user)} <= {200, 201, 400, 503}
    assert (await auth.get("/sessions", token=user.first.access_token)).status == 200
    pragma.text = "max_page_count = 1073741823"
    await served_again(auth, user)
    await assert_whole(auth, user)
    for tokens in granted:
        assert await is_live(auth, tokens)


async def test_a_file_that_is_locked(
    auth_settings: AuthSettings, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the lock for longer than anybody waits: 503, and afterwards all is well."""
    monkeypatch.setattr(shared.sqlite_engine, "BUSY_SECONDS", 0.2)
    async with running_auth(auth_settings, clock) as auth:
        user = await new_user(auth, "alice")
        path = parse_database_url(auth_settings.database_url.reveal()).database
        other = sqlite3.connect(str(path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for reply in await write_everywhere(auth, user):
            assert_refused(reply, 503, "temporarily_unavailable")
        assert (await auth.get("/sessions", token=user.first.access_token)).status == 200
        await assert_made_up_tokens_are_refused(auth)
        other.execute("ROLLBACK")
        other.close()
        await served_again(auth, user)
        await assert_whole(auth, user)


@pytest.mark.slow
@pytest.mark.parametrize("auth_environment", ["postgresql"], indirect=True)
async def test_postgresql_restarted_in_the_middle(
    auth_settings: AuthSettings, clock: FrozenClock, postgresql: PostgreSQL
) -> None:
    """Sign-ins and refreshes go on while the server stops and comes back: each is served or 503, what was granted is
    good, no honest client is logged out, and soon all is served again."""
    async with running_auth(auth_settings, clock) as auth:
        users = [await new_user(auth, f"user-{number}") for number in range(4)]
        newest = {user.name: user.first.refresh_token for user in users}
        granted: list[Tokens] = []
        statuses: set[int] = set()
        stopping = asyncio.Event()

        async def use(user: User) -> None:
            while not stopping.is_set():
                signed_in = await sign_in(auth, user)
                refreshed = await auth.refresh(newest[user.name])
                statuses.update((signed_in.status, refreshed.status))
                if signed_in.status == 200:
                    granted.append(Tokens.of(signed_in))
                if refreshed.status == 200:
                    newest[user.name] = Tokens.of(refreshed).refresh_token

        using = [asyncio.create_task(use(user)) for user in users]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(postgresql.stop, "fast")
        await asyncio.sleep(0.5)
        assert (await auth.get("/livez")).status == 200
        assert (await auth.get("/readyz")).status == 503
        await asyncio.to_thread(postgresql.start)
        for user in users:
            await served_again(auth, user)
        await asyncio.sleep(0.3)
        stopping.set()
        await asyncio.gather(*using)
        assert statuses == {200, 503}
        for user in users:
            newest[user.name] = (await auth.refreshed(newest[user.name])).refresh_token
        for tokens in granted[-20:] + granted[:20]:
            assert await is_live(auth, tokens)
