"""`POST /revoke` over HTTP (RFC 7009)."""

from __future__ import annotations

import pytest

from auth_service.settings import AuthSettings
from shared.revocation_feed import RevokedKind
from tests.auth_service.endpoints.state import delete_account, stored_events, tables_that_say
from tests.auth_service.feed import FeedReader
from tests.auth_service.running import EACH_DATABASE, AuthClient, assert_refused


@EACH_DATABASE
@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "nonsense"}])
async def test_a_refresh_token_is_revoked_with_its_session(auth: AuthClient, hint: dict[str, str]) -> None:
    """Section 2.1: and so are the access tokens of the same grant; a hint changes nothing."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    for _ in range(2):
        reply = await auth.post_form("/revoke", {"token": tokens.refresh_token, **hint})
        assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (200, b"", "no-store")
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=tokens.access_token), 401, "invalid_token")
    assert len((await feed.read()).entries) == 1
    assert feed.holds(RevokedKind.SESSION, tokens.sid)


@EACH_DATABASE
async def test_an_access_token_is_revoked_alone(auth: AuthClient) -> None:
    """Refused here at once and by the feed elsewhere; the session and its other tokens go on."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    for _ in range(2):
        reply = await auth.post_form("/revoke", {"token": tokens.access_token, "client_id": "first-party"})
        assert reply.status == 200
    (entry,) = (await feed.read()).entries
    assert feed.holds(RevokedKind.TOKEN, tokens.claims["jti"])
    assert tokens.claims["exp"] + 60 < entry.expires_at <= tokens.claims["exp"] + 180
    reply = await auth.get("/sessions", token=tokens.access_token)
    assert_refused(reply, 401, "invalid_token")
    assert "revoked" in reply.headers["WWW-Authenticate"]
    later = await auth.refreshed(tokens.refresh_token)
    assert (await auth.get("/sessions", token=later.access_token)).status == 200


@EACH_DATABASE
async def test_a_token_of_a_deleted_account_brings_its_subject_back_nowhere(
    auth: AuthClient, auth_settings: AuthSettings
) -> None:
    """Hostile cases: no row of any table refers to a deleted user, whatever is done with the tokens that are left."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    sub = tokens.claims["sub"]
    assert await tables_that_say(auth_settings, sub) == ["accounts", "security_events", "sessions"]
    await delete_account(auth_settings, sub)
    entries, trail = (await feed.read()).entries, await stored_events(auth_settings)
    for token in (tokens.access_token, tokens.refresh_token):
        assert (await auth.post_form("/revoke", {"token": token})).status == 200
    assert await tables_that_say(auth_settings, sub) == []
    assert (await FeedReader(auth).read()).entries == entries
    assert await stored_events(auth_settings) == trail


@pytest.mark.parametrize("token", ["x", "a.b.c", "signet_refresh_" + "A" * 64, "%00", "A" * 9_000])
async def test_a_token_of_nobody_is_no_error(auth: AuthClient, token: str) -> None:
    """Section 2.2: the answer does not tell whether there was such a token."""
    feed = FeedReader(auth)
    assert (await auth.post_form("/revoke", {"token": token})).status == 200
    assert (await feed.read()).entries == []


async def test_a_forged_or_expired_token_revokes_nothing(auth: AuthClient) -> None:
    """200 as well; the one that was imitated goes on."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    forged = tokens.access_token[:-8] + "AAAAAAAA"
    assert (await auth.post_form("/revoke", {"token": forged})).status == 200
    assert (await auth.get("/sessions", token=tokens.access_token)).status == 200
    await auth.pass_time(306)
    assert (await auth.post_form("/revoke", {"token": tokens.access_token})).status == 200
    assert (await feed.read()).entries == []


@pytest.mark.parametrize("form", ["", "token=", "token=a&token=b", "token_type_hint=access_token", "token"])
async def test_a_form_of_another_kind_is_refused(auth: AuthClient, form: str) -> None:
    """RFC 6749 section 5.2: a parameter that is missing or repeated."""
    assert_refused(await auth.post_form("/revoke", form), 400, "invalid_request")


async def test_another_client_is_refused(auth: AuthClient) -> None:
    """The client is authenticated as at the token endpoint (section 2.1)."""
    tokens = await auth.new_user()
    reply = await auth.post_form("/revoke", {"token": tokens.refresh_token, "client_id": "somebody-else"})
    assert_refused(reply, 401, "invalid_client")
    await auth.refreshed(tokens.refresh_token)


async def test_json_is_no_form(auth: AuthClient) -> None:
    """415: the parameters are a form (section 2.1)."""
    assert_refused(await auth.post("/revoke", {"token": "x"}), 415, "unsupported_media_type")
