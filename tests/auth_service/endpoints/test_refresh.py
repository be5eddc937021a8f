"""`grant_type=refresh_token` at `POST /token` over HTTP: what it gives, what it refuses, and when it ends."""

from __future__ import annotations

import asyncio
import base64

from auth_service.model.security_event import SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.endpoints.state import stored_events, stored_session
from tests.auth_service.running import (
    EACH_DATABASE,
    PASSWORD,
    RESOURCE,
    AuthClient,
    Tokens,
    assert_refused,
    in_database,
    running_auth,
    unreadable_signing_key,
)
from tests.clock import FrozenClock

DAY = 86_400


async def assert_ended(auth: AuthClient, tokens: Tokens) -> None:
    """The session is over for all that belongs to it."""
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=tokens.access_token), 401, "invalid_token")


async def test_a_refresh_gives_the_next_tokens(auth: AuthClient) -> None:
    """A whole token answer whose refresh token is a new one (RFC 9700 section 4.14.2)."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    assert (second.scope, second.expires_in) == (first.scope, 300)
    third = await auth.refreshed(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3


async def test_what_is_no_refresh_token_is_refused(auth: AuthClient) -> None:
    """400 `invalid_grant`, in the same words whatever is wrong."""
    for token in [
        "x",
        "signet_refresh_",
        "signet_refresh_" + "A" * 64,
        "signet_refresh_" + "A" * 63,
        "signet_refresh_" + "A" * 65,
        "SIGNET_REFRESH_" + "A" * 64,
        "signet_refresh_" + "A" * 63 + "\n",
        "signet_refresh_" + "\u0660" * 64,
        "\u0000",
        "eyJhbGciOiJub25lIn0.e30.",
        "' OR 1=1 --",
        "A" * 15_000,
    ]:
        reply = await auth.refresh(token)
        assert_refused(reply, 400, "invalid_grant")
        assert reply.json()["error_description"] == "The refresh token is not valid."


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(auth: AuthClient) -> None:
    """Each is refused in the other's place."""
    tokens = await auth.new_user()
    assert_refused(await auth.refresh(tokens.access_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=tokens.refresh_token), 401, "invalid_token")


@EACH_DATABASE
async def test_the_parent_may_come_again_inside_the_grace(auth: AuthClient) -> None:
    """A lost answer is repeated: the same successor, however often, and the session goes on."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    for _ in range(3):
        again = await auth.refreshed(first.refresh_token)
        assert again.refresh_token == second.refresh_token
    auth.clock.advance(10)
    assert (await auth.refreshed(first.refresh_token)).refresh_token == second.refresh_token
    await auth.refreshed(second.refresh_token)


@EACH_DATABASE
async def test_the_parent_ends_the_session_after_the_grace(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Only a copy can come then: 400, and that the session is over is committed and on the audit trail."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    auth.clock.advance(10.001)
    assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
    session = await stored_session(auth_settings, first.sid)
    assert session.end_reason is EndReason.TOKEN_REUSED
    assert (await stored_events(auth_settings))[0].kind is SecurityEventKind.REFRESH_TOKEN_REUSED
    await assert_ended(auth, second)


@EACH_DATABASE
async def test_an_older_generation_ends_the_session_at_once(auth: AuthClient) -> None:
    """Hostile cases, refresh: only the immediate predecessor has a grace; the grandparent ends the session."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    third = await auth.refreshed(second.refresh_token)
    assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
    await assert_ended(auth, third)


async def test_the_use_of_the_successor_closes_the_window(auth: AuthClient) -> None:
    """Once the successor was used its parent is a grandparent, grace or not."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    third = await auth.refreshed(second.refresh_token)
    await auth.refreshed(second.refresh_token)
    assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
    await assert_ended(auth, third)


async def test_without_a_grace_every_repetition_is_a_copy(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """AUTH_REFRESH_GRACE_SECONDS=0 leaves the instant of the use itself."""
    settings = AuthSettings.load({**auth_environment, "AUTH_REFRESH_GRACE_SECONDS": "0"})
    async with running_auth(settings, clock) as auth:
        first = await auth.new_user()
        second = await auth.refreshed(first.refresh_token)
        clock.advance(0.001)
        assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
        await assert_ended(auth, second)


async def test_a_copy_ends_its_own_session_only(auth: AuthClient) -> None:
    """The account's other sessions go on."""
    first = await auth.new_user()
    other = await auth.login()
    second = await auth.refreshed(first.refresh_token)
    await auth.refreshed(second.refresh_token)
    assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
    await auth.refreshed(other.refresh_token)


async def test_a_token_with_a_foreign_secret_ends_nothing_it_does_not_belong_to(auth: AuthClient) -> None:
    """Handle of one session, secret of another: whoever has the handle holds a copy, so only that session ends."""
    alice, bob = await auth.new_user("alice"), await auth.new_user("bob")
    both = [base64.urlsafe_b64decode(tokens.refresh_token.removeprefix("signet_refresh_")) for tokens in (alice, bob)]
    mixed = "signet_refresh_" + base64.urlsafe_b64encode(both[0][:16] + both[1][16:]).decode()
    assert_refused(await auth.refresh(mixed), 400, "invalid_grant")
    await assert_ended(auth, alice)
    await auth.refreshed(bob.refresh_token)


@EACH_DATABASE
async def test_fifty_uses_at_once_have_one_successor(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-1035: one token 50 times in parallel: every answer names the same next token."""
    first = await auth.new_user()
    replies = await asyncio.gather(*(auth.refresh(first.refresh_token) for _ in range(50)))
    assert {reply.status for reply in replies} == {200}
    (successor,) = {reply.json()["refresh_token"] for reply in replies}
    await auth.refreshed(successor)


@EACH_DATABASE
async def test_two_processes_agree_on_the_successor(
    auth: AuthClient, auth_settings: AuthSettings, clock: FrozenClock
) -> None:
    """Another process on the same database: one successor between them, and what one ended is over for the other."""
    first = await auth.new_user()
    async with running_auth(auth_settings, clock) as other:
        uses = [service.refresh(first.refresh_token) for service in (auth, other) for _ in range(10)]
        replies = await asyncio.gather(*uses)
        assert {reply.status for reply in replies} == {200}
        (successor,) = {reply.json()["refresh_token"] for reply in replies}
        second = await other.refreshed(successor)
        assert (await auth.post("/logout", token=second.access_token)).status == 204
        await assert_ended(other, second)


# Scope and resource.


async def test_the_scope_may_be_narrowed_for_one_token(auth: AuthClient) -> None:
    """The token has what was asked for; the session keeps what it has (RFC 6749 section 6)."""
    await auth.register()
    first = await auth.login(scope="data:read data:write profile")
    second = await auth.refreshed(first.refresh_token, scope="data:read")
    assert (second.scope, second.claims["scope"]) == ("data:read", "data:read")
    assert "preferred_username" not in second.claims
    third = await auth.refreshed(second.refresh_token)
    assert third.scope == "data:read data:write profile"


async def test_the_scope_never_grows(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2024-52287: beyond what was granted is 400 `invalid_scope`, and the token is not spent."""
    await auth.register()
    first = await auth.login(scope="data:read")
    for scope in ["data:read data:write", "data:write", "data:read admin", "profile", "email", "x" * 5_000]:
        assert_refused(await auth.refresh(first.refresh_token, scope=scope), 400, "invalid_scope")
        assert (await stored_session(auth_settings, first.sid)).chain.generation == 0
    assert (await auth.refreshed(first.refresh_token)).scope == "data:read"


async def test_a_malformed_scope_is_refused(auth: AuthClient) -> None:
    """400 `invalid_scope`, and the token is not spent."""
    first = await auth.new_user()
    for scope in [" ", "data:read  data:write", 'da"ta', "dat\u00e4", "\u0000"]:
        assert_refused(await auth.refresh(first.refresh_token, scope=scope), 400, "invalid_scope")
    await auth.refreshed(first.refresh_token)


async def test_the_resource_must_be_the_sessions(auth: AuthClient) -> None:
    """RFC 8707 section 2.2: another resource is 400 `invalid_target`; the audience never grows."""
    first = await auth.new_user()
    for resource in ("http://localhost:9999", RESOURCE + "/", "", "x", "\u0000"):
        reply = await auth.refresh(first.refresh_token, resource=resource)
        if resource:
            assert_refused(reply, 400, "invalid_target")
        else:
            first = Tokens.of(reply)
    second = await auth.refreshed(first.refresh_token, resource=RESOURCE)
    assert second.claims["aud"] == RESOURCE


async def test_a_copy_is_recognised_whatever_else_is_wrong(auth: AuthClient) -> None:
    """An impossible scope beside a reused token does not save the session."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    third = await auth.refreshed(second.refresh_token)
    assert_refused(await auth.refresh(first.refresh_token, scope="admin"), 400, "invalid_grant")
    await assert_ended(auth, third)


# Time.


async def test_a_session_that_is_used_lives_on(auth: AuthClient) -> None:
    """Each use moves the idle timeout (14 days)."""
    tokens = await auth.new_user()
    for _ in range(3):
        await auth.pass_time(13 * DAY)
        tokens = await auth.refreshed(tokens.refresh_token)


@EACH_DATABASE
async def test_a_session_ends_by_idleness(auth: AuthClient) -> None:
    """At the idle timeout, to the instant; the name and the password open another."""
    tokens = await auth.new_user()
    await auth.pass_time(14 * DAY - 0.5)
    tokens = await auth.refreshed(tokens.refresh_token)
    await auth.pass_time(14 * DAY)
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    await auth.login()


async def test_a_session_ends_for_good(auth: AuthClient) -> None:
    """At the absolute lifetime (90 days), however often it was used."""
    tokens = await auth.new_user()
    for _ in range(8):
        await auth.pass_time(11 * DAY)
        tokens = await auth.refreshed(tokens.refresh_token)
    await auth.pass_time(2 * DAY - 1)
    tokens = await auth.refreshed(tokens.refresh_token)
    await auth.pass_time(1)
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")


# What else keeps a session from going on.


@EACH_DATABASE
async def test_a_disabled_account_is_not_refreshed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-43983, CVE-2025-64521: 400 as long as it is disabled, though nobody ended the session."""
    tokens = await auth.new_user()

    def disable(records: Records) -> None:
        account = records.accounts.find(tokens.claims["sub"])
        assert account is not None
        records.accounts.update(account.disabled())

    await in_database(auth_settings, disable)
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")


@EACH_DATABASE
async def test_a_deleted_account_is_not_refreshed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Nothing is left that the token could belong to."""
    tokens = await auth.new_user()
    await in_database(auth_settings, lambda records: records.accounts.delete(tokens.claims["sub"]))
    await assert_ended(auth, tokens)


@EACH_DATABASE
async def test_a_restart_between_two_refreshes_changes_nothing(auth_settings: AuthSettings, clock: FrozenClock) -> None:
    """Sessions, grace and key outlive the process; a lost answer is repeated by the next one."""
    async with running_auth(auth_settings, clock) as auth:
        first = await auth.new_user()
        second = await auth.refreshed(first.refresh_token)
    async with running_auth(auth_settings, clock) as auth:
        assert (await auth.refreshed(first.refresh_token)).refresh_token == second.refresh_token
        assert (await auth.get("/sessions", token=first.access_token)).status == 200
        third = await auth.refreshed(second.refresh_token)
        assert third.header == first.header
    async with running_auth(auth_settings, clock) as auth:
        assert_refused(await auth.refresh(first.refresh_token), 400, "invalid_grant")
        await assert_ended(auth, third)


async def test_no_token_is_spent_while_nothing_can_be_signed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """503 before anything is stored: else the retry, after the grace, would look like a copy and end the session."""
    tokens = await auth.new_user()
    async with unreadable_signing_key(auth_settings):
        auth.clock.advance(31)
        assert_refused(await auth.refresh(tokens.refresh_token), 503, "temporarily_unavailable")
        for name in ("alice", "nobody"):
            reply = await auth.post("/login", {"username": name, "password": PASSWORD})
            assert_refused(reply, 503, "temporarily_unavailable")
        assert (await auth.get("/readyz")).status == 503
    assert (await stored_session(auth_settings, tokens.sid)).chain.generation == 0
    await auth.pass_time(31)
    await auth.refreshed(tokens.refresh_token)
