"""The database fails in the middle: the n-th call of each endpoint, for every n (hostile cases, Storage).

503 with Retry-After, nothing granted that is not stored, nothing reported as ended that still works, and whoever tries
again is served. A call fails in two ways: nothing was done, or it was committed and only the answer is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from shared.database import Database, DatabaseUnavailable
from shared.logging import request_id
from tests.auth_service.running import FORM, NEW_PASSWORD, PASSWORD, AuthClient, Tokens, assert_refused
from tests.wire import Reply

FAULTY = "request-that-meets-faults"
"""The id of the requests whose database calls fail; the service's own go on undisturbed."""
MAX_CALLS = 20


class Faults:
    """Makes one database call of a faulty request fail: the `nth`, before its work or `after_commit`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, after_commit: bool) -> None:
        self.nth = 0
        self._calls = 0
        self._after_commit = after_commit
        for name in ("read", "write"):
            monkeypatch.setattr(Database, name, self._failing(getattr(Database, name)))

    def arm(self, nth: int) -> None:
        self.nth, self._calls = nth, 0

    @property
    def was_met(self) -> bool:
        """Whether the request came as far as the call that fails."""
        return self._calls >= self.nth

    def _failing(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(database: Database, work: Any) -> Any:
            if request_id.get() != FAULTY:
                return await original(database, work)
            self._calls += 1
            if self._calls != self.nth:
                return await original(database, work)
            if self._after_commit:
                await original(database, work)
            raise DatabaseUnavailable("The database is not available.")

        return call


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with two sessions, made for one attempt."""

    auth: AuthClient
    name: str
    tokens: Tokens
    other: Tokens

    async def send(self, method: str, path: str, body: object = None, *, token: bool = True, form: str = "") -> Reply:
        """The request that meets the fault."""
        headers = {"X-Request-ID": FAULTY, **(FORM if form else {})}
        content = form.encode() if form else body
        access_token = self.tokens.access_token if token else None
        return await self.auth.call(method, path, body=content, token=access_token, headers=headers)

    async def signs_in(self, password: str = PASSWORD) -> bool:
        reply = await self.auth.post("/login", {"username": self.name, "password": password})
        assert reply.status in (200, 401)
        return reply.status == 200

    async def goes_on(self, tokens: Tokens) -> bool:
        """Whether the session behind these tokens is alive, for both of them alike."""
        lives = (await self.auth.get("/sessions", token=tokens.access_token)).status == 200
        refreshed = (await self.auth.refresh(tokens.refresh_token)).status == 200
        assert lives == refreshed
        return lives


Act = Callable[[User], Awaitable[Reply]]


async def register(user: User) -> Reply:
    return await user.send("POST", "/register", {"username": f"new-{user.name}", "password": PASSWORD}, token=False)


async def login(user: User) -> Reply:
    return await user.send("POST", "/login", {"username": user.name, "password": PASSWORD}, token=False)


async def wrong_login(user: User) -> Reply:
    return await user.send("POST", "/login", {"username": user.name, "password": NEW_PASSWORD}, token=False)


async def unknown_login(user: User) -> Reply:
    return await user.send("POST", "/login", {"username": f"un{user.name}", "password": PASSWORD}, token=False)


async def refresh(user: User) -> Reply:
    form = f"grant_type=refresh_token&refresh_token={user.tokens.refresh_token}"
    return await user.send("POST", "/token", token=False, form=form)


async def logout(user: User) -> Reply:
    return await user.send("POST", "/logout")


async def logout_by_refresh_token(user: User) -> Reply:
    return await user.send("POST", "/logout", {"refresh_token": user.tokens.refresh_token}, token=False)


async def revoke(user: User) -> Reply:
    return await user.send("POST", "/revoke", token=False, form=f"token={user.tokens.refresh_token}")


async def change_password(user: User) -> Reply:
    return await user.send("POST", "/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD})


async def list_sessions(user: User) -> Reply:
    return await user.send("GET", "/sessions")


async def end_other(user: User) -> Reply:
    return await user.send("DELETE", f"/sessions/{user.other.sid}")


ACTS: list[tuple[Act, int]] = [
    (register, 201),
    (login, 200),
    (wrong_login, 401),
    (unknown_login, 401),
    (refresh, 200),
    (logout, 204),
    (logout_by_refresh_token, 204),
    (revoke, 200),
    (change_password, 204),
    (list_sessions, 200),
    (end_other, 204),
]
ENDED_BY = {logout: "tokens", logout_by_refresh_token: "tokens", revoke: "tokens", end_other: "other"}


@pytest.mark.parametrize(("act", "success"), ACTS, ids=[act.__name__ for act, _ in ACTS])
async def test_each_database_call_of_each_endpoint_may_fail(
    auth: AuthClient, monkeypatch: pytest.MonkeyPatch, act: Act, success: int
) -> None:
    """The call does nothing: 503, everything as it was; the same request again does what it should."""
    faults = Faults(monkeypatch, after_commit=False)
    failed = 0
    for nth in itertools.count(1):
        assert nth < MAX_CALLS
        user = await new_user(auth, nth)
        faults.arm(nth)
        reply = await act(user)
        if not faults.was_met:
            assert reply.status == success
            break
        if reply.status == success:
            continue  # what failed was not needed for the answer
        failed += 1
        assert_refused(reply, 503, "temporarily_unavailable")
        assert await user.signs_in()
        assert not await user.signs_in(NEW_PASSWORD)
        for tokens in (user.tokens, user.other) if act is not refresh else (user.other,):
            assert await user.goes_on(tokens)
        if act not in ENDED_BY:
            assert (await act(user)).status == success
    assert failed


@pytest.mark.parametrize(("act", "success"), ACTS, ids=[act.__name__ for act, _ in ACTS])
async def test_the_answer_to_a_commit_may_be_lost(
    auth: AuthClient, monkeypatch: pytest.MonkeyPatch, act: Act, success: int
) -> None:
    """The call is committed and not answered: 503 or, where nothing depends on it, success; never half of anything,
    and nobody who tries again is shut out."""
    faults = Faults(monkeypatch, after_commit=True)
    for nth in itertools.count(1):
        assert nth < MAX_CALLS
        user = await new_user(auth, nth)
        faults.arm(nth)
        reply = await act(user)
        if not faults.was_met:
            break
        assert reply.status in (success, 503)
        again = await act(user)
        if act is register:
            assert again.status in (201, 409)
            name = {"username": f"new-{user.name}", "password": PASSWORD}
            assert (await auth.post("/login", name)).status == 200
        elif act is change_password:
            # The token is still good: the session that asks is the one that stays.
            assert again.status in (204, 401)
            assert await user.signs_in(NEW_PASSWORD)
        else:
            assert again.status in (success, 404 if act is end_other else success)
        if act is refresh:
            await auth.refreshed(Tokens.of(again).refresh_token)
        if act in ENDED_BY:
            assert not await user.goes_on(getattr(user, ENDED_BY[act]))


async def new_user(auth: AuthClient, number: int) -> User:
    name = f"user-{number}"
    await auth.register(name)
    return User(auth, name, await auth.login(name), await auth.login(name))
