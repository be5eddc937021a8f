"""`POST /login` over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from auth_service.identity.passwords import OWASP_ARGON2ID
from auth_service.settings import AuthSettings
from tests.auth_service.endpoints.state import change_account, delete_account, stored_events, tables_that_say
from tests.auth_service.identity.hashing import HeldUp
from tests.auth_service.running import (
    EACH_DATABASE,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    assert_refused,
    running_auth,
)
from tests.clock import FrozenClock
from tests.wire import Reply

OTHERS_AND_OURS = {"http://localhost:8002": ["data:read", "data:write"], "http://localhost:9000": ["mail:send"]}


def without_id(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but what differs in every one."""
    headers = {name: value for name, value in reply.headers.items() if name not in ("X-Request-ID", "Date")}
    return reply.status, headers, reply.body


async def test_a_sign_in_gives_out_tokens(auth: AuthClient) -> None:
    """200 with both tokens, how long the first is good, and the scope: all of the default resource (contract)."""
    await auth.register()
    reply = await auth.post("/login", {"username": "alice", "password": PASSWORD})
    assert reply.status == 200
    body = reply.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "data:read data:write")
    assert body["refresh_token"].startswith("signet_refresh_")
    assert reply.headers["Content-Type"] == "application/json"
    assert (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")


async def test_every_spelling_of_the_name_signs_in(auth: AuthClient) -> None:
    """One account for spellings that are one name."""
    sub = await auth.register("Alice")
    for username in ["alice", "ALICE", "\uff21lice"]:
        assert (await auth.login(username)).claims["sub"] == sub


async def test_a_scope_is_granted_as_far_as_the_resource_offers_it(auth: AuthClient) -> None:
    """What is beyond is left out, and the answer says what was granted (RFC 6749 section 3.3)."""
    await auth.register()
    for asked, granted in [
        ("data:read", "data:read"),
        ("data:write data:read", "data:write data:read"),
        ("data:read admin", "data:read"),
        ("data:read data:read", "data:read"),
        ("email", "email"),
        ("profile email data:read data:write openid", "profile email data:read data:write"),
    ]:
        tokens = await auth.login(scope=asked)
        assert (tokens.scope, tokens.claims["scope"]) == (granted, granted)


async def test_a_scope_of_which_nothing_is_left_is_refused(auth: AuthClient) -> None:
    """400 `invalid_scope`, the same whether or not the credentials are good."""
    await auth.register()
    for scope in [
        "",
        " ",
        "admin",
        "openid",
        "DATA:READ",
        "data:read  data:write",
        " data:read",
        'da"ta',
        "dat\u00e4",
        "x" * 5_000,
    ]:
        replies = [
            await auth.post("/login", {"username": "alice", "password": password, "scope": scope})
            for password in (PASSWORD, NEW_PASSWORD)
        ]
        for reply in replies:
            assert_refused(reply, 400, "invalid_scope")
        assert without_id(replies[0]) == without_id(replies[1])


async def test_the_resource_follows_from_the_scope(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """Without a scope the token is for the first resource; a scope is for the first that offers any of it, and what
    belongs to another resource is left out: a token has one audience."""
    resources = str(OTHERS_AND_OURS).replace("'", '"')
    settings = AuthSettings.load({**auth_environment, "AUTH_RESOURCES": resources})
    async with running_auth(settings, clock) as auth:
        await auth.register()
        tokens = await auth.login()
        assert (tokens.claims["aud"], tokens.scope) == ("http://localhost:8002", "data:read data:write")
        tokens = await auth.login(scope="mail:send profile")
        assert (tokens.claims["aud"], tokens.scope) == ("http://localhost:9000", "mail:send profile")
        tokens = await auth.login(scope="mail:send data:read")
        assert (tokens.claims["aud"], tokens.scope) == ("http://localhost:8002", "data:read")
        reply = await auth.post("/login", {"username": "alice", "password": PASSWORD, "scope": "nobody:offers"})
        assert_refused(reply, 400, "invalid_scope")


async def test_a_member_of_the_wrong_type_is_named(auth: AuthClient) -> None:
    """400 names the member, never its value."""
    cases: list[tuple[dict[str, object], str]] = [
        ({"username": None}, "username"),
        ({"username": 7}, "username"),
        ({"username": ["alice"]}, "username"),
        ({"password": None}, "password"),
        ({"password": {"$ne": 1}}, "password"),
        ({"password": True}, "password"),
        ({"scope": ["data:read"]}, "scope"),
        ({"scope": 7}, "scope"),
    ]
    for change, named in cases:
        reply = await auth.post("/login", {"username": "alice", "password": PASSWORD, **change})
        assert_refused(reply, 400, "invalid_request")
        assert reply.json()["error_description"] == f"Missing or malformed: {named}."


async def test_missing_credentials_are_a_bad_request(auth: AuthClient) -> None:
    """What is no attempt to sign in is 400 and not 401."""
    bodies: list[object] = [{}, {"username": "alice"}, {"password": PASSWORD}, [], "alice", b"null", {"user": "alice"}]
    for body in bodies:
        reply = await auth.call("POST", "/login", body=body)
        assert_refused(reply, 400, "invalid_request")


async def test_every_refusal_is_the_same(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, enumeration (CVE-2021-29621, CVE-2024-21671): status, headers and body are the same, to the byte,
    for an unknown name, an impossible one, a wrong password, a disabled account and one that has no password."""
    for name in ("known", "disabled", "passwordless"):
        await auth.register(name)
    await change_account(auth_settings, "disabled", state="disabled")
    await change_account(auth_settings, "passwordless", password_hash=None)
    attempts = [
        ("known", NEW_PASSWORD),
        ("known", ""),
        ("known", "x" * 2_000),
        ("unknown", PASSWORD),
        ("unknown", "x" * 2_000),
        ("im possible", PASSWORD),
        ("", ""),
        ("x" * 5_000, PASSWORD),
        ("nul\u0000nul", "nul\u0000nul"),
        ("disabled", PASSWORD),
        ("disabled", NEW_PASSWORD),
        ("passwordless", PASSWORD),
        ("passwordless", ""),
        ("passwordless", "None"),
    ]
    replies = [await auth.post("/login", {"username": name, "password": word}) for name, word in attempts]
    assert_refused(replies[0], 401, "invalid_credentials")
    assert replies[0].headers["WWW-Authenticate"].startswith("Bearer ")
    assert {repr(without_id(reply)) for reply in replies} == {repr(without_id(replies[0]))}


async def test_no_sign_in_enables_an_account(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-43983, CVE-2026-1609: disabled stays disabled until an operator says otherwise."""
    await auth.register()
    await change_account(auth_settings, "alice", state="disabled")
    for _ in range(2):
        assert_refused(
            await auth.post("/login", {"username": "alice", "password": PASSWORD}), 401, "invalid_credentials"
        )
    await change_account(auth_settings, "alice", state="active")
    await auth.login()


async def test_an_account_without_a_password_takes_none(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-41571: no text is the password of an account that has none."""
    await auth.register()
    await change_account(auth_settings, "alice", password_hash=None)
    for presented in ["", " ", "null", "None", "undefined", "\u0000", "$argon2id$", "*", "!", PASSWORD]:
        reply = await auth.post("/login", {"username": "alice", "password": presented})
        assert_refused(reply, 401, "invalid_credentials")


@EACH_DATABASE
async def test_an_account_that_is_deleted_meanwhile_is_not_named_again(
    auth: AuthClient, auth_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile cases: a sign-in that is refused after it says what one says that comes later, and leaves no subject."""
    sub = await auth.register()
    held_up = HeldUp.next(monkeypatch, "verify")
    guessing = asyncio.create_task(auth.post("/login", {"username": "alice", "password": NEW_PASSWORD}))
    await held_up.reached.wait()
    await delete_account(auth_settings, sub)
    held_up.go_on.set()
    assert_refused(await guessing, 401, "invalid_credentials")
    assert await tables_that_say(auth_settings, sub) == []
    refusal = (await stored_events(auth_settings))[0]
    assert (refusal.kind, refusal.detail) == ("sign_in_refused", {"reason": "unknown_name"})


async def test_each_sign_in_is_a_session_of_its_own(auth: AuthClient) -> None:
    """Neither session id nor any token is ever the same (hostile cases, CVE-2024-28197)."""
    await auth.register()
    signed_in = [await auth.login() for _ in range(5)]
    assert len({tokens.sid for tokens in signed_in}) == 5
    assert len({tokens.refresh_token for tokens in signed_in}) == 5
    assert len({tokens.claims["jti"] for tokens in signed_in}) == 5


@EACH_DATABASE
async def test_many_users_at_once_get_their_own_tokens(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-33544: no identity is swapped among sign-ins and refreshes in parallel."""
    names = [f"user-{number}" for number in range(60)]
    subs = await asyncio.gather(*(auth.register(name, f"{PASSWORD} of {name}") for name in names))
    signed_in = await asyncio.gather(*(auth.login(name, f"{PASSWORD} of {name}", "profile") for name in names))
    refreshed = await asyncio.gather(*(auth.refreshed(tokens.refresh_token) for tokens in signed_in))
    for tokens in (signed_in, refreshed):
        assert [each.claims["sub"] for each in tokens] == subs
        assert [each.claims["preferred_username"] for each in tokens] == names


async def test_a_flood_is_turned_away_and_nothing_else_waits(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """Hostile cases, CVE-2026-26233: beyond a bounded queue 503 with Retry-After at once, and health goes on."""
    settings = AuthSettings.load({**auth_environment, "AUTH_PASSWORD_THREADS": "1", "AUTH_PASSWORD_QUEUE": "4"})
    async with running_auth(settings, clock, password_profile=OWASP_ARGON2ID) as auth:
        await auth.register()
        flood = [auth.post("/login", {"username": f"nobody-{number}", "password": PASSWORD}) for number in range(200)]
        replies = await asyncio.gather(*flood)
        busy = [reply for reply in replies if reply.status == 503]
        assert busy
        assert {reply.status for reply in replies} == {401, 503}
        assert_refused(busy[0], 503, "temporarily_unavailable")
        assert (await auth.get("/livez")).status == 200
        await auth.login()


async def test_an_enormous_password_is_refused_before_it_is_hashed(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-26233: a body beyond 16 KiB is 413, whatever is in it."""
    await auth.register()
    for size, status in ((15_000, 401), (20_000, 413), (1_000_000, 413)):
        reply = await auth.post("/login", {"username": "alice", "password": "x" * size})
        assert reply.status == status


async def test_credentials_in_the_query_or_a_form_are_not_looked_at(auth: AuthClient) -> None:
    """Secrets in URLs end in logs; only a JSON body signs in."""
    await auth.register()
    query = "/login?username=alice&password=correct%20horse%20battery%20staple"
    assert_refused(await auth.post(query, {}), 400, "invalid_request")
    assert (await auth.post_form("/login", {"username": "alice", "password": PASSWORD})).status == 415
