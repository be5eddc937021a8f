"""`POST /password` over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest

from auth_service.model.security_event import SecurityEventKind
from auth_service.settings import AuthSettings
from tests.auth_service.endpoints.state import change_account, delete_account, stored_events, tables_that_say
from tests.auth_service.identity.hashing import HeldUp
from tests.auth_service.running import (
    EACH_DATABASE,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    Tokens,
    assert_refused,
    in_database,
)
from tests.clock import FrozenClock
from tests.wire import Reply


async def change(auth: AuthClient, tokens: Tokens, current: object = PASSWORD, new: object = NEW_PASSWORD) -> Reply:
    return await auth.post("/password", {"current_password": current, "new_password": new}, token=tokens.access_token)


@EACH_DATABASE
async def test_the_new_password_signs_in_and_the_old_one_does_not(auth: AuthClient) -> None:
    """204 without a body, not to be stored."""
    tokens = await auth.new_user()
    reply = await change(auth, tokens)
    assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (204, b"", "no-store")
    await auth.login(password=NEW_PASSWORD)
    assert_refused(await auth.post("/login", {"username": "alice", "password": PASSWORD}), 401, "invalid_credentials")


@EACH_DATABASE
async def test_every_other_session_ends(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-34828: the session that asked goes on, all others are over; other accounts' stay."""
    tokens, *others = [await auth.new_user(), *[await auth.login() for _ in range(3)]]
    bob = await auth.new_user("bob")
    assert (await change(auth, tokens)).status == 204
    for other in others:
        assert_refused(await auth.refresh(other.refresh_token), 400, "invalid_grant")
        assert_refused(await auth.get("/sessions", token=other.access_token), 401, "invalid_token")
    await auth.refreshed(tokens.refresh_token)
    await auth.refreshed(bob.refresh_token)


async def test_a_copy_of_the_kept_session_does_not_outlive_its_owners_next_refresh(
    auth: AuthClient, clock: FrozenClock
) -> None:
    """Hostile cases, CVE-2024-28197 (decision 7): what can be presented changes at that use, and the copy then ends the
    session; the `sid` stays, and is nothing that can be presented."""
    tokens = await auth.new_user()
    assert (await change(auth, tokens)).status == 204
    renewed = await auth.refreshed(tokens.refresh_token)
    assert renewed.sid == tokens.sid
    assert renewed.refresh_token != tokens.refresh_token
    clock.advance(11)
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.refresh(renewed.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=renewed.access_token), 401, "invalid_token")


async def test_nobody_chooses_the_session_that_a_sign_in_opens(auth: AuthClient) -> None:
    """The same: a session that is known beforehand is not the one that is signed in to."""
    planted = await auth.new_user()
    credentials = {"username": "alice", "password": PASSWORD}
    assert_refused(await auth.post("/login", {**credentials, "sid": planted.sid}), 400, "invalid_request")
    for headers in ({"Cookie": f"sid={planted.sid}; session={planted.sid}"}, {"X-Session-ID": planted.sid}):
        reply = await auth.call("POST", f"/login?sid={planted.sid}", body=credentials, headers=headers)
        assert Tokens.of(reply).sid != planted.sid
    reply = await auth.post("/login", credentials, token=planted.access_token)
    assert Tokens.of(reply).sid != planted.sid


@pytest.mark.parametrize("presented", ["", NEW_PASSWORD, PASSWORD.upper(), PASSWORD + " ", "x" * 2_000, "\u0000"])
async def test_a_wrong_present_password_changes_nothing(auth: AuthClient, presented: str) -> None:
    """400 `invalid_credentials`; whoever found an open session does not get the account."""
    tokens, other = await auth.new_user(), await auth.login()
    reply = await change(auth, tokens, presented)
    assert_refused(reply, 400, "invalid_credentials")
    await auth.login(password=PASSWORD)
    await auth.refreshed(other.refresh_token)


async def test_a_wrong_present_password_is_not_taken_for_an_expired_token(auth: AuthClient) -> None:
    """No challenge and no 401, at which clients drop their tokens: this one is good and goes on working."""
    tokens = await auth.new_user()
    reply = await change(auth, tokens, "wrong")
    assert reply.status not in (401, 403)
    assert "WWW-Authenticate" not in reply.headers
    assert (await change(auth, tokens)).status == 204


async def test_a_wrong_present_password_is_told_before_a_weak_new_one(auth: AuthClient) -> None:
    """What the policy thinks of the new one is for its owner."""
    tokens = await auth.new_user()
    assert_refused(await change(auth, tokens, "wrong", "x"), 400, "invalid_credentials")


async def test_a_weak_new_password_is_refused(auth: AuthClient) -> None:
    """400 `weak_password`, by the rule of registration."""
    tokens = await auth.new_user()
    for new in ["", "1234567", "password1", "alicealice", "x" * 1_025]:
        assert_refused(await change(auth, tokens, new=new), 400, "weak_password")
    await auth.login(password=PASSWORD)


async def test_a_body_of_another_form_is_refused(auth: AuthClient) -> None:
    """400; nothing in the body chooses whose password it is."""
    tokens = await auth.new_user()
    for body in [
        {},
        {"current_password": PASSWORD},
        {"new_password": NEW_PASSWORD},
        {"current_password": None, "new_password": NEW_PASSWORD},
        {"current_password": PASSWORD, "new_password": ["x"]},
        {"current_password": 12345678, "new_password": NEW_PASSWORD},
        {"current_password": PASSWORD, "new_password": NEW_PASSWORD, "sub": "somebody-else"},
        {"current_password": PASSWORD, "new_password": NEW_PASSWORD, "username": "bob-the-other"},
        [],
    ]:
        assert_refused(await auth.post("/password", body, token=tokens.access_token), 400, "invalid_request")
    await auth.login(password=PASSWORD)


async def test_a_token_of_another_user_changes_the_other_password(auth: AuthClient) -> None:
    """Whose password it is follows from the token alone."""
    await auth.register("alice")
    bob = await auth.new_user("bob")
    assert (await change(auth, bob)).status == 204
    await auth.login("alice", PASSWORD)
    await auth.login("bob", NEW_PASSWORD)


async def test_without_a_token_there_is_no_change(auth: AuthClient) -> None:
    """401 with a bare challenge, before the body is read."""
    await auth.register()
    reply = await auth.post("/password", {"current_password": PASSWORD, "new_password": NEW_PASSWORD})
    assert_refused(reply, 401, "missing_credentials")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer realm=")
    assert "error=" not in reply.headers["WWW-Authenticate"]


async def test_a_session_that_is_over_changes_nothing(auth: AuthClient) -> None:
    """The access token has not expired, but its session has ended."""
    tokens = await auth.new_user()
    await auth.post("/logout", token=tokens.access_token)
    assert_refused(await change(auth, tokens), 401, "invalid_token")
    await auth.login(password=PASSWORD)


End = Callable[[AuthClient, Tokens, Tokens], Awaitable[Reply]]


async def log_out(auth: AuthClient, tokens: Tokens, _other: Tokens) -> Reply:
    return await auth.post("/logout", token=tokens.access_token)


async def end_from_elsewhere(auth: AuthClient, tokens: Tokens, other: Tokens) -> Reply:
    return await auth.call("DELETE", f"/sessions/{tokens.sid}", token=other.access_token)


async def revoke(auth: AuthClient, tokens: Tokens, _other: Tokens) -> Reply:
    return await auth.post_form("/revoke", {"token": tokens.refresh_token})


@EACH_DATABASE
@pytest.mark.parametrize("end", [log_out, end_from_elsewhere, revoke])
async def test_a_session_that_is_ended_meanwhile_changes_nothing(
    auth: AuthClient, auth_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    """Ended while the new password is hashed: 401 as if it had been ended before, all stays, and the trail knows."""
    tokens, other = await auth.new_user(), await auth.login()
    held_up = HeldUp.next(monkeypatch, "hash")
    changing = asyncio.create_task(change(auth, tokens))
    await held_up.reached.wait()
    assert (await end(auth, tokens, other)).status in (200, 204)
    held_up.go_on.set()
    reply = await changing
    assert_refused(reply, 401, "invalid_token")
    assert "revoked" in reply.headers["WWW-Authenticate"]
    await auth.login(password=PASSWORD)
    await auth.refreshed(other.refresh_token)
    [refusal] = [one for one in await stored_events(auth_settings) if one.kind.startswith("password_change")]
    assert (refusal.kind, refusal.sid) == (SecurityEventKind.PASSWORD_CHANGE_REFUSED, tokens.sid)
    assert refusal.detail == {"reason": "session_over"}


@EACH_DATABASE
async def test_a_change_that_another_session_overtakes_is_told_that_its_own_is_over(
    auth: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 and not that the password was wrong: the other change has ended this session, and only it counts."""
    tokens, other = await auth.new_user(), await auth.login()
    held_up = HeldUp.next(monkeypatch, "hash")
    changing = asyncio.create_task(change(auth, tokens))
    await held_up.reached.wait()
    assert (await change(auth, other, new="another good password")).status == 204
    held_up.go_on.set()
    assert_refused(await changing, 401, "invalid_token")
    await auth.login(password="another good password")


@EACH_DATABASE
@pytest.mark.parametrize(("method", "presented"), [("verify", "wrong"), ("verify", PASSWORD), ("hash", PASSWORD)])
async def test_an_account_that_is_deleted_meanwhile_is_not_named_again(
    auth: AuthClient,
    auth_settings: AuthSettings,
    monkeypatch: pytest.MonkeyPatch,
    method: Literal["hash", "verify"],
    presented: str,
) -> None:
    """Hostile cases: the refusal brings the subject back into no table; the answer is that of any token of it."""
    tokens = await auth.new_user()
    held_up = HeldUp.next(monkeypatch, method)
    changing = asyncio.create_task(change(auth, tokens, presented))
    await held_up.reached.wait()
    await delete_account(auth_settings, tokens.claims["sub"])
    held_up.go_on.set()
    assert_refused(await changing, 401, "invalid_token")
    assert await tables_that_say(auth_settings, tokens.claims["sub"]) == []


@EACH_DATABASE
async def test_of_changes_at_once_one_counts(auth: AuthClient) -> None:
    """Each proves the password that was in force; the first change makes the others' proof void."""
    tokens = await auth.new_user()
    replies = await asyncio.gather(*(change(auth, tokens, new=f"{NEW_PASSWORD} {number}") for number in range(8)))
    assert sorted(reply.status for reply in replies) == [204] + [400] * 7
    won = [reply.status for reply in replies].index(204)
    await auth.login(password=f"{NEW_PASSWORD} {won}")


async def test_an_account_without_a_password_has_none_to_change(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-41571: no text is the present password of an account that has none."""
    tokens = await auth.new_user()
    await change_account(auth_settings, "alice", password_hash=None)
    for presented in ("", "null", "None", PASSWORD):
        assert_refused(await change(auth, tokens, presented), 400, "invalid_credentials")
    account = await in_database(auth_settings, lambda records: records.accounts.find(tokens.claims["sub"]))
    assert account is not None
    assert account.password_hash is None
