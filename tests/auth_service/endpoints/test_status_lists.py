"""`GET /statuslists` over HTTP: what ends a session shows in its list, for readers that know no feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from auth_service.identity.sessions import end_sessions
from auth_service.model.caller import NOWHERE
from auth_service.model.security_event import Act
from auth_service.model.session import EndReason
from auth_service.model.status_list import LIST_LENGTH
from auth_service.model.storage import Records
from auth_service.revocations.status_lists import LIFETIME_SECONDS, TTL_SECONDS
from auth_service.settings import AuthSettings
from shared.database import Database
from shared.jwk import JwkRules, PublicJwk, read_jwk
from shared.status_list import INVALID, VALID, StatusListToken, read_list_token
from tests.auth_service.running import (
    EACH_DATABASE,
    ISSUER,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    Tokens,
    assert_refused,
    in_database,
    running_auth,
)
from tests.clock import FrozenClock

Ending = Callable[[AuthClient, Tokens, AuthSettings], Awaitable[None]]

METADATA = "/.well-known/oauth-authorization-server"


@pytest.fixture
def auth_settings(auth_environment: dict[str, str]) -> AuthSettings:
    return AuthSettings.load({**auth_environment, "AUTH_STATUS_LIST": "true"})


@pytest.fixture
async def auth(auth_settings: AuthSettings, clock: FrozenClock) -> AsyncIterator[AuthClient]:
    """The auth service with status lists, running."""
    async with running_auth(auth_settings, clock) as client:
        yield client


def place(tokens: Tokens) -> tuple[int, str]:
    """Where a token's status stands: index, and the list's path."""
    (mechanism, reference), *more = tokens.claims["status"].items()
    assert (mechanism, more) == ("status_list", [])
    assert reference.keys() == {"idx", "uri"}
    assert reference["uri"].startswith(f"{ISSUER}/statuslists/")
    return reference["idx"], reference["uri"].removeprefix(ISSUER)


async def read_list(auth: AuthClient, path: str) -> StatusListToken:
    """A list, checked as any reader must."""
    reply = await auth.get(path)
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "application/statuslist+jwt"
    unverified = read_list_token(reply.body)
    for jwk in (await auth.get("/.well-known/jwks.json")).json()["keys"]:
        key = read_jwk(jwk, JwkRules())
        if isinstance(key, PublicJwk) and key.kid == unverified.kid:
            return unverified.verify(key, ISSUER + path, issuer=ISSUER)
    raise AssertionError("the key that signed is not published")


async def status_of(auth: AuthClient, tokens: Tokens) -> int | None:
    """What the list says now."""
    auth.clock.advance(1.1)
    idx, path = place(tokens)
    return (await read_list(auth, path)).statuses.status_of(idx)


@EACH_DATABASE
async def test_each_session_has_its_own_place(auth: AuthClient) -> None:
    """The same for all its tokens, another for another session; and nothing of it in an order."""
    tokens = await auth.new_user()
    sessions = [tokens, *[await auth.login() for _ in range(5)]]
    places = [place(each) for each in sessions]
    assert len(set(places)) == len(places)
    assert all(path == "/statuslists/0" and 0 <= idx < LIST_LENGTH for idx, path in places)
    again = await auth.refreshed(tokens.refresh_token)
    assert place(again) == place(tokens)
    assert place(await auth.refreshed(again.refresh_token)) == place(tokens)


@EACH_DATABASE
async def test_a_list_says_what_the_draft_asks_for(auth: AuthClient) -> None:
    """Section 5.1: its address, when it was made, until when it holds and when to ask again; one bit for each token."""
    path = place(await auth.new_user())[1]
    token = await read_list(auth, path)
    now = int(auth.clock.now())
    assert (token.uri, token.issued_at) == (ISSUER + path, now)
    assert (token.expires_at, token.ttl) == (now + LIFETIME_SECONDS, TTL_SECONDS)
    assert (token.statuses.bits, len(token.statuses)) == (1, LIST_LENGTH)
    assert not any(token.statuses.packed)


async def end_by_logout(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post("/logout", token=tokens.access_token)).status == 204


async def end_by_password(auth: AuthClient, _tokens: Tokens, _settings: AuthSettings) -> None:
    other = await auth.login()
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await auth.post("/password", change, token=other.access_token)).status == 204
    assert await status_of(auth, other) == VALID


async def end_by_a_copied_token(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    await auth.refreshed((await auth.refreshed(tokens.refresh_token)).refresh_token)
    assert (await auth.refresh(tokens.refresh_token)).status == 400


async def end_by_revocation(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post_form("/revoke", {"token": tokens.refresh_token})).status == 200


async def end_by_deleting_the_account(_auth: AuthClient, tokens: Tokens, settings: AuthSettings) -> None:
    """As the operator does, whose process need know nothing of lists."""

    def work(records: Records) -> None:
        sub = tokens.claims["sub"]
        records.accounts.hold(sub)
        end_sessions(records, sub, EndReason.ACCOUNT_DELETED, Act(1_800_000_000.0, NOWHERE, "operator"))
        records.accounts.delete(sub)

    await in_database(settings, work)


@EACH_DATABASE
@pytest.mark.parametrize(
    "end",
    [end_by_logout, end_by_password, end_by_a_copied_token, end_by_revocation, end_by_deleting_the_account],
    ids=lambda end: end.__name__,
)
async def test_what_ends_a_session_sets_its_bit(auth: AuthClient, auth_settings: AuthSettings, end: Ending) -> None:
    """Whatever it is, whichever process did it; another user's stays as it was."""
    tokens, other = await auth.new_user(), await auth.new_user("bob")
    assert await status_of(auth, tokens) == VALID
    await end(auth, tokens, auth_settings)
    assert await status_of(auth, tokens) == INVALID
    assert await status_of(auth, other) == VALID


async def test_one_access_token_alone_is_not_in_a_list(auth: AuthClient) -> None:
    """A place stands for a session: what revokes a single token says nothing there (`docs/status-list.md`)."""
    tokens = await auth.new_user()
    assert (await auth.post_form("/revoke", {"token": tokens.access_token})).status == 200
    assert await status_of(auth, tokens) == VALID


@EACH_DATABASE
async def test_every_replica_serves_the_same_lists(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Places given by one and endings stored by one are in the list of the other."""
    async with running_auth(auth_settings, FrozenClock()) as replica:
        first = await auth.new_user()
        second = await replica.login()
        await replica.post("/logout", token=first.access_token)
        await auth.post("/logout", token=second.access_token)
        for service in (auth, replica):
            assert [await status_of(service, tokens) for tokens in (first, second)] == [INVALID, INVALID]
        path = place(first)[1]
        assert (await read_list(auth, path)).statuses == (await read_list(replica, path)).statuses


@EACH_DATABASE
async def test_a_session_of_before_gets_its_place_when_it_goes_on(
    auth_environment: dict[str, str], auth_settings: AuthSettings, clock: FrozenClock
) -> None:
    """Opened without the setting: no claim; after the next refresh it has one. Without the setting again: none."""
    plain = AuthSettings.load(auth_environment)
    async with running_auth(plain, clock) as auth:
        tokens = await auth.new_user()
        assert "status" not in tokens.claims
    async with running_auth(auth_settings, clock) as auth:
        listed = await auth.refreshed(tokens.refresh_token)
        assert await status_of(auth, listed) == VALID
        once_more = await auth.refreshed(listed.refresh_token)
        assert place(once_more) == place(listed)
    async with running_auth(plain, clock) as auth:
        assert "status" not in (await auth.refreshed(once_more.refresh_token)).claims
        assert (await auth.get("/statuslists/0")).status == 404


async def test_without_the_setting_there_are_no_lists(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """Nothing is mounted and nothing is said."""
    async with running_auth(AuthSettings.load(auth_environment), clock) as auth:
        await auth.new_user()
        for path in ("/statuslists", "/statuslists/0"):
            assert_refused(await auth.get(path), 404, "not_found")
        metadata = (await auth.get(METADATA)).json()
        assert "status_list_aggregation_endpoint" not in metadata
        assert "status" not in metadata["claims_supported"]


async def test_all_lists_are_found_through_metadata(auth: AuthClient) -> None:
    """Section 9: the aggregation endpoint, which anybody may read from anywhere."""
    metadata = (await auth.get(METADATA)).json()
    assert metadata["status_list_aggregation_endpoint"] == f"{ISSUER}/statuslists"
    assert "status" in metadata["claims_supported"]
    assert (await auth.get("/statuslists")).json() == {"status_lists": []}
    tokens = await auth.new_user()
    auth.clock.advance(1.1)
    reply = await auth.get("/statuslists")
    assert reply.json() == {"status_lists": [ISSUER + place(tokens)[1]]}
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("number", ["1", "00", "01", "-1", "+0", "0x0", "a", "%30x", "9" * 9, "9" * 30, "0/", "%D9%A0"])
async def test_a_list_that_is_not_there_is_not_found(auth: AuthClient, number: str) -> None:
    """A list has one address, in one spelling."""
    await auth.new_user()
    assert (await auth.get("/statuslists/0")).status == 200
    assert_refused(await auth.get(f"/statuslists/{number}"), 404, "not_found")


async def test_a_list_that_was_just_begun_is_there(auth: AuthClient) -> None:
    """Though somebody asked a moment ago, when it was not."""
    assert (await auth.get("/statuslists/0")).status == 404
    auth.clock.advance(0.1)
    assert (await auth.get(place(await auth.new_user())[1])).status == 200


async def test_a_list_is_made_once_for_everybody(auth: AuthClient) -> None:
    """Until it changes, or its signature has served a quarter of its ttl; caches answer as long as readers wait."""
    tokens = await auth.new_user()
    path = place(tokens)[1]
    first = await auth.get(path, headers={"Origin": "https://app.example"})
    assert first.headers["Cache-Control"] == "public, max-age=60"
    assert first.headers["Access-Control-Allow-Origin"] == "*"
    same = await asyncio.gather(*(auth.get(path) for _ in range(20)))
    assert {reply.body for reply in same} == {first.body}
    auth.clock.advance(14)
    later = await auth.get(path)
    assert (later.body, later.headers["Cache-Control"]) == (first.body, "public, max-age=46")
    not_modified = await auth.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (not_modified.status, not_modified.body) == (304, b"")
    assert not_modified.headers["ETag"] == first.headers["ETag"]
    auth.clock.advance(2)
    renewed = await auth.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert renewed.status == 200
    assert renewed.headers["ETag"] != first.headers["ETag"]
    await auth.post("/logout", token=tokens.access_token)
    auth.clock.advance(1.1)
    assert (await auth.get(path)).headers["ETag"] != renewed.headers["ETag"]


async def test_what_cannot_be_read_is_not_vouched_for(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """For five seconds what was read before is given out; then 503, until the database is back."""
    path = place(await auth.new_user())[1]
    assert (await auth.get(path)).status == 200
    database = await asyncio.to_thread(Database.open, auth_settings.database_url.reveal())
    try:
        await database.write(lambda c: c.exec_driver_sql("ALTER TABLE status_positions RENAME TO gone"))
        auth.clock.advance(4)
        assert (await auth.get(path)).status == 200
        auth.clock.advance(2)
        reply = await auth.get(path)
        assert_refused(reply, 503, "temporarily_unavailable")
        assert "Retry-After" in reply.headers
        await database.write(lambda c: c.exec_driver_sql("ALTER TABLE gone RENAME TO status_positions"))
    finally:
        await database.close()
    assert (await auth.get(path)).status == 200
