"""`GET /sessions` and `DELETE /sessions/{sid}` over HTTP, and the access token that both ask for."""

from __future__ import annotations

import asyncio

import pytest

from auth_service.keys.private_key import PrivateKey
from auth_service.settings import AuthSettings
from shared.access_token import AccessToken, encode
from shared.scope import Scope
from tests.auth_service.running import (
    EACH_DATABASE,
    ISSUER,
    RESOURCE,
    AuthClient,
    Tokens,
    assert_refused,
    running_auth,
)
from tests.clock import FrozenClock


async def listed(auth: AuthClient, tokens: Tokens) -> list[dict[str, object]]:
    reply = await auth.get("/sessions", token=tokens.access_token)
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    sessions: list[dict[str, object]] = reply.json()["sessions"]
    return sessions


@EACH_DATABASE
async def test_the_own_sessions_are_listed(auth: AuthClient) -> None:
    """When, from where, which client, for what; the one used last first, the one that asks marked."""
    first = await auth.new_user()
    await auth.pass_time(60)
    body = {"username": "alice", "password": "correct horse battery staple", "scope": "data:read"}
    second = Tokens.of(await auth.post("/login", body, **{"User-Agent": "curl/8.0"}))
    sessions = await listed(auth, first)
    assert sessions[0] == {
        "sid": second.sid,
        "client_id": "first-party",
        "scope": "data:read",
        "opened_at": int(auth.clock.now()),
        "last_used_at": int(auth.clock.now()),
        "expires_at": int(auth.clock.now()) + 14 * 86_400,
        "address": "127.0.0.1",
        "user_agent": "curl/8.0",
        "current": False,
    }
    assert [(session["sid"], session["current"]) for session in sessions] == [(second.sid, False), (first.sid, True)]


async def test_only_the_own_sessions_are_listed(auth: AuthClient) -> None:
    """Neither another account's nor those that are over."""
    alice, bob = await auth.new_user("alice"), await auth.new_user("bob")
    over = await auth.login("alice")
    await auth.post("/logout", token=over.access_token)
    assert [session["sid"] for session in await listed(auth, alice)] == [alice.sid]
    assert [session["sid"] for session in await listed(auth, bob)] == [bob.sid]


async def test_what_the_caller_called_itself_is_cut_and_clean(auth: AuthClient) -> None:
    """A header is the sender's to choose; it is kept short, and comes back as JSON text, never as markup."""
    await auth.register()
    body = {"username": "alice", "password": "correct horse battery staple"}
    tokens = Tokens.of(await auth.post("/login", body, **{"User-Agent": "<script>alert(1)</script>" + "x" * 1_000}))
    (session,) = await listed(auth, tokens)
    assert len(str(session["user_agent"])) == 200


@EACH_DATABASE
async def test_one_session_is_ended(auth: AuthClient) -> None:
    """204; its tokens are over with it, and so it is no longer there to end."""
    current, other = await auth.new_user(), await auth.login()
    reply = await auth.call("DELETE", f"/sessions/{other.sid}", token=current.access_token)
    assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (204, b"", "no-store")
    assert_refused(await auth.refresh(other.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=other.access_token), 401, "invalid_token")
    again = await auth.call("DELETE", f"/sessions/{other.sid}", token=current.access_token)
    assert_refused(again, 404, "not_found")
    assert [session["sid"] for session in await listed(auth, current)] == [current.sid]


async def test_the_current_session_may_be_ended_too(auth: AuthClient) -> None:
    """It is one of one's own; what follows is refused."""
    tokens = await auth.new_user()
    assert (await auth.call("DELETE", f"/sessions/{tokens.sid}", token=tokens.access_token)).status == 204
    assert_refused(await auth.get("/sessions", token=tokens.access_token), 401, "invalid_token")


@EACH_DATABASE
async def test_what_is_not_ones_own_is_not_there(auth: AuthClient) -> None:
    """404 alike for another user's session, for none, and for what cannot be one; nothing ends."""
    alice, bob = await auth.new_user("alice"), await auth.new_user("bob")
    for path in [
        "{bob}",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "x",
        "%00",
        "%ff%fe",
        "%F0%9F%92%A9",
        "a" * 5_000,
        "{bob}%00",
        "%27%20OR%201=1",
    ]:
        reply = await auth.call("DELETE", f"/sessions/{path.format(bob=bob.sid)}", token=alice.access_token)
        assert_refused(reply, 404, "not_found")
        assert reply.json()["error_description"] == "There is no such session."
    await auth.refreshed(bob.refresh_token)


async def test_ended_at_once_by_many_it_ends_once(auth: AuthClient) -> None:
    """One 204, the others 404."""
    current, other = await auth.new_user(), await auth.login()
    path = f"/sessions/{other.sid}"
    replies = await asyncio.gather(*(auth.call("DELETE", path, token=current.access_token) for _ in range(8)))
    assert sorted(reply.status for reply in replies) == [204] + [404] * 7


# The access token that the account's own endpoints ask for.

PROTECTED = [("GET", "/sessions"), ("DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA"), ("POST", "/password")]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_without_a_token_the_challenge_is_bare(auth: AuthClient, method: str, path: str) -> None:
    """RFC 6750 section 3: no error code where no credentials were sent; another scheme is none."""
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Digest x"}, {"Cookie": "token=x"}):
        reply = await auth.call(method, path, headers=headers)
        assert_refused(reply, 401, "missing_credentials")
        assert reply.headers.getall("WWW-Authenticate") == [f'Bearer realm="{ISSUER}"']


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_a_bad_token_is_named_in_the_challenge(auth: AuthClient, method: str, path: str) -> None:
    """`error="invalid_token"`, in the same words for all that is wrong before the signature was found good."""
    tokens = await auth.new_user()
    header, claims, signature = tokens.access_token.split(".")
    bad = [
        "x",
        "e30.e30.e30",
        f"{header}.{claims}.",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        f"{header}.{claims[:-4]}AAAA.{signature}",
        f"eyJhbGciOiJub25lIn0.{claims}.",
        f"{tokens.access_token}.x",
        tokens.access_token.upper(),
        "x" * 8_000,
    ]
    replies = [await auth.call(method, path, token=token) for token in bad]
    for reply in replies:
        assert_refused(reply, 401, "invalid_token")
    assert len({reply.headers["WWW-Authenticate"] for reply in replies}) == 1
    assert 'error="invalid_token"' in replies[0].headers["WWW-Authenticate"]


async def test_a_malformed_field_is_a_bad_request(auth: AuthClient) -> None:
    """400 with the challenge (RFC 6750 section 3.1)."""
    for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a\tb"]:
        reply = await auth.get("/sessions", headers={"Authorization": value})
        assert_refused(reply, 400, "invalid_request")
        assert 'error="invalid_request"' in reply.headers["WWW-Authenticate"]


async def test_the_scheme_is_read_without_case(auth: AuthClient) -> None:
    """And the older spelling `JWT` is taken with the same checks (contract)."""
    tokens = await auth.new_user()
    for scheme in ["Bearer", "bearer", "BEARER", "JWT", "Bearer  "]:
        fields = {"Authorization": f"{scheme} {tokens.access_token}"}
        assert (await auth.get("/sessions", headers=fields)).status == 200
        forged = {"Authorization": f"{scheme} {tokens.access_token[:-8]}AAAAAAAA"}
        assert_refused(await auth.get("/sessions", headers=forged), 401, "invalid_token")


async def test_a_token_lives_as_long_as_it_says(auth: AuthClient) -> None:
    """Good until its end and five seconds of leeway, then 401 that says so; a refresh brings a good one."""
    tokens = await auth.new_user()
    await auth.pass_time(304.9)
    assert (await auth.get("/sessions", token=tokens.access_token)).status == 200
    await auth.pass_time(0.1)
    reply = await auth.get("/sessions", token=tokens.access_token)
    assert_refused(reply, 401, "invalid_token")
    assert reply.json()["error_description"] == "The access token has expired."
    renewed = await auth.refreshed(tokens.refresh_token)
    assert (await auth.get("/sessions", token=renewed.access_token)).status == 200


async def test_a_token_of_another_installation_is_refused(
    auth: AuthClient, clock: FrozenClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Hostile cases, "two fresh installs": the same issuer name, user and clock, but another key."""
    await auth.new_user()
    url = f"sqlite:///{tmp_path_factory.mktemp('another')}/auth/auth.sqlite3"
    async with running_auth(AuthSettings.load({"AUTH_DATABASE_URL": url}), clock) as another:
        foreign = await another.new_user()
        ours = (await auth.get("/.well-known/jwks.json")).json()["keys"]
        theirs = (await another.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["n"] for key in ours}.isdisjoint(key["n"] for key in theirs)
    assert_refused(await auth.get("/sessions", token=foreign.access_token), 401, "invalid_token")


async def test_a_token_with_a_private_key_from_nowhere_is_refused(auth: AuthClient) -> None:
    """Every claim right, the kid right, the signature by a key of the forger's own."""
    tokens = await auth.new_user()

    class Forged:
        kid = str(tokens.header["kid"])
        algorithm = "RS256"
        sign = staticmethod(PrivateKey.generate(2048).sign)

    now = int(auth.clock.now())
    claims = AccessToken(
        issuer=ISSUER,
        subject=tokens.claims["sub"],
        audience=RESOURCE,
        client_id="first-party",
        issued_at=now,
        expires_at=now + 300,
        token_id="forged",
        scope=Scope("data:read"),
        session_id=tokens.sid,
    )
    assert_refused(await auth.get("/sessions", token=encode(claims, Forged)), 401, "invalid_token")
