"""`POST /logout` over HTTP."""

from __future__ import annotations

import asyncio

from tests.auth_service.running import EACH_DATABASE, AuthClient, Tokens, assert_refused


async def assert_over(auth: AuthClient, tokens: Tokens) -> None:
    """Neither of the session's tokens is worth anything here."""
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    reply = await auth.get("/sessions", token=tokens.access_token)
    assert_refused(reply, 401, "invalid_token")
    assert 'error_description="The access token was revoked."' in reply.headers["WWW-Authenticate"]


@EACH_DATABASE
async def test_the_access_token_ends_its_session(auth: AuthClient) -> None:
    """204 without a body, not to be stored; the session's tokens end with it, other sessions go on."""
    tokens, other = await auth.new_user(), await auth.login()
    reply = await auth.post("/logout", token=tokens.access_token)
    assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (204, b"", "no-store")
    await assert_over(auth, tokens)
    assert (await auth.get("/sessions", token=other.access_token)).status == 200
    await auth.refreshed(other.refresh_token)


@EACH_DATABASE
async def test_the_refresh_token_ends_its_session(auth: AuthClient) -> None:
    """A client whose access token has expired logs out by the other one."""
    tokens = await auth.new_user()
    await auth.pass_time(1_000)
    assert (await auth.post("/logout", {"refresh_token": tokens.refresh_token})).status == 204
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")


async def test_a_refresh_token_of_any_generation_ends_the_session(auth: AuthClient) -> None:
    """Who leaves with an old token in hand leaves all the same."""
    first = await auth.new_user()
    second = await auth.refreshed(first.refresh_token)
    third = await auth.refreshed(second.refresh_token)
    assert (await auth.post("/logout", {"refresh_token": first.refresh_token})).status == 204
    await assert_over(auth, third)


async def test_to_log_out_twice_is_no_error(auth: AuthClient) -> None:
    """RFC 7009 section 2.2: what is over is over, by either token."""
    tokens = await auth.new_user()
    for _ in range(2):
        assert (await auth.post("/logout", token=tokens.access_token)).status == 204
        assert (await auth.post("/logout", {"refresh_token": tokens.refresh_token})).status == 204


async def test_a_refresh_token_of_nobody_is_no_error(auth: AuthClient) -> None:
    """The answer does not tell whether there is such a session."""
    for token in ["x", "", "signet_refresh_" + "A" * 64, "\u0000", "A" * 10_000]:
        assert (await auth.post("/logout", {"refresh_token": token})).status == 204


async def test_a_body_of_another_form_is_refused(auth: AuthClient) -> None:
    """400, as everywhere."""
    for body in [
        {},
        [],
        {"refresh_token": None},
        {"refresh_token": 7},
        {"refresh_token": "x", "sid": "x"},
        {"token": "x"},
    ]:
        assert_refused(await auth.post("/logout", body), 400, "invalid_request")


async def test_without_any_credential_there_is_nothing_to_end(auth: AuthClient) -> None:
    """Neither header nor body: 400 that says what to send."""
    reply = await auth.post("/logout")
    assert_refused(reply, 400, "invalid_request")
    assert "refresh token" in reply.json()["error_description"]


async def test_a_bad_access_token_is_refused_and_ends_nothing(auth: AuthClient) -> None:
    """401 with a challenge; a good refresh token in the body does not make up for it."""
    tokens = await auth.new_user()
    forged = tokens.access_token[:-8] + "AAAAAAAA"
    for bad in (forged, "x", tokens.refresh_token):
        reply = await auth.post("/logout", {"refresh_token": tokens.refresh_token}, token=bad)
        assert_refused(reply, 401, "invalid_token")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
    await auth.refreshed(tokens.refresh_token)


async def test_an_expired_access_token_ends_nothing(auth: AuthClient) -> None:
    """Expired is refused here too, five seconds of leeway after its end."""
    tokens = await auth.new_user()
    await auth.pass_time(305)
    assert_refused(await auth.post("/logout", token=tokens.access_token), 401, "invalid_token")
    await auth.refreshed(tokens.refresh_token)


async def test_a_logout_is_not_reachable_by_a_link(auth: AuthClient) -> None:
    """Hostile cases, CVE-2020-10734: GET logs nobody out."""
    tokens = await auth.new_user()
    reply = await auth.get("/logout", token=tokens.access_token)
    assert_refused(reply, 405, "method_not_allowed")
    assert reply.headers["Allow"] == "POST"
    await auth.refreshed(tokens.refresh_token)


@EACH_DATABASE
async def test_a_refresh_that_meets_a_logout_does_not_survive_it(auth: AuthClient) -> None:
    """Both at once, many times over: whatever the refresh still gave out, the session is over when all is answered."""
    for number in range(6):
        tokens = await auth.new_user(f"user-{number}")
        uses = [auth.refresh(tokens.refresh_token) for _ in range(4)]
        uses.insert(number % 4, auth.post("/logout", token=tokens.access_token))
        replies = await asyncio.gather(*uses)
        assert {reply.status for reply in replies} <= {200, 204, 400}
        await assert_over(auth, tokens)
        for reply in replies:
            if reply.status == 200:
                await assert_over(auth, Tokens.of(reply))
