"""The feed's reader over HTTP, against feeds that are cut, late, forged, replayed, truncated and set back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from resource_service.protection import ProtectedResource, TrustedIssuer, protect
from resource_service.protection.revocation_feed import FeedHealth, FeedState
from shared.revocation_feed import MAX_ENTRIES, Position, RevokedKind
from tests.clock import FrozenClock
from tests.protocol.minting import AUDIENCE, ISSUER, mint, signing_key
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.feed import Feed, running_feed
from tests.resource_service.protection.issuer import Issuer, json_of, until


@protect(max_revocation_age=20)
async def careful(_request: web.Request) -> web.Response:
    return web.Response(status=204)


def mount_careful(app: web.Application) -> None:
    app.router.add_get("/careful", careful)


@pytest.fixture
async def feed(clock: FrozenClock) -> AsyncIterator[Feed]:
    async with running_feed(clock) as running:
        yield running


def followed(issuer: Issuer, feed: Feed, **changes: Any) -> ProtectedResource:
    trusted = TrustedIssuer(ISSUER, jwks_uri=issuer.jwks_uri, revocations_uri=feed.uri)
    return replace(resource_of(issuer), issuers=(trusted,), **changes)


@asynccontextmanager
async def following(issuer: Issuer, feed: Feed, clock: FrozenClock, **changes: Any) -> AsyncIterator[Api]:
    async with running_api(followed(issuer, feed, **changes), clock, prepare=mount_careful) as api:
        yield api


def health(api: Api) -> FeedHealth:
    return api.protection.health().issuers[0].revocations


async def taken_in(api: Api, feed: Feed) -> None:
    """Wait until the reader has reached the end of the feed."""
    await until(lambda: health(api).sequence == len(feed.entries) and health(api).failures_in_row == 0)


async def pass_time(api: Api, clock: FrozenClock, seconds: int) -> None:
    """Second by second, so that whatever sleeps in between wakes."""
    for _ in range(seconds):
        clock.advance(1)
        await asyncio.sleep(0.004)


async def test_what_is_revoked_is_refused_at_once(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """A token warm in the cache and one never seen, 401 with the reason; tokens of other sessions go on."""
    async with following(issuer, feed, clock) as api:
        warm, cold, other = mint(), mint(claims={"jti": "b"}), mint(claims={"sid": "c"})
        assert (await api.get(token=warm)).status == 200
        feed.revoke(RevokedKind.SESSION, "a-session")
        await taken_in(api, feed)
        for token in (warm, warm, cold):
            reply = await api.get(token=token)
            assert reply.status == 401
            assert 'error_description="The access token was revoked."' in reply.headers["WWW-Authenticate"]
        assert (await api.get(token=other)).status == 200
        assert health(api).state is FeedState.FOLLOWED


async def test_a_start_takes_the_whole_feed_before_the_first_request(
    issuer: Issuer, feed: Feed, clock: FrozenClock
) -> None:
    """Not ready, and 503, until the first attempt has come to its end; then what was revoked before is refused."""
    for number in range(MAX_ENTRIES + 5):
        feed.entries.append(feed_entry(feed, f"s{number}"))
    feed.revoke(RevokedKind.SESSION, "a-session")
    issuer.hold.clear()
    async with running_api(followed(issuer, feed), clock, wait_for_keys=False) as api:
        assert not api.protection.health().usable
        issuer.hold.set()
        assert (await api.get(token=mint())).status == 503
        await taken_in(api, feed)
        assert (await api.get(token=mint())).status == 401


def feed_entry(feed: Feed, identifier: str) -> Any:
    feed.revoke(RevokedKind.SESSION, identifier)
    return feed.entries.pop()


async def test_a_cut_feed_fails_open_as_it_is_set(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """A minute without the feed: what was revoked stays revoked, what is good stays good, and the age shows."""
    async with following(issuer, feed, clock) as api:
        feed.revoke(RevokedKind.TOKEN, "a-token")
        await taken_in(api, feed)
        feed.is_cut = True
        feed.wake()
        await until(lambda: health(api).failures_in_row > 0)
        await pass_time(api, clock, 70)
        assert (await api.get(token=mint())).status == 401
        assert (await api.get(token=mint(claims={"jti": "b", "sid": "s"}))).status == 200
        assert health(api).stale
        holds, figures = await api.protection.readiness.report()
        assert (holds, figures["revocations_stale"]) == (True, True)
        assert (await api.get("/careful", token=mint(claims={"jti": "b"}))).status == 503
        feed.is_cut = False
        feed.revoke(RevokedKind.TOKEN, "b")
        await pass_time(api, clock, 6)
        await taken_in(api, feed)
        assert (await api.get("/careful", token=mint(claims={"jti": "b"}))).status == 401
        assert not health(api).stale


async def test_a_cut_feed_fails_closed_where_that_is_set(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """503 with Retry-After and no challenge after the bound, not before; readiness falls with it; then all is well."""
    async with following(issuer, feed, clock, revocation_fail_closed=True, revocation_stale_seconds=30) as api:
        await until(lambda: health(api).age is not None)
        assert (await api.get(token=mint())).status == 200
        feed.is_cut = True
        feed.wake()
        await until(lambda: health(api).failures_in_row > 0)
        await pass_time(api, clock, 28)
        assert (await api.get(token=mint())).status == 200
        await pass_time(api, clock, 3)
        reply = await api.get(token=mint())
        assert reply.status == 503
        assert reply.headers["Retry-After"] == "1"
        assert "WWW-Authenticate" not in reply.headers
        assert not (await api.protection.readiness.report())[0]
        feed.is_cut = False
        await pass_time(api, clock, 6)
        await until(lambda: health(api).usable)
        assert (await api.get(token=mint())).status == 200


async def test_a_start_without_the_feed_is_as_it_is_set(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """Fail closed waits for it; fail open says so and goes on."""
    feed.is_cut = True
    for fail_closed, status in ((True, 503), (False, 200)):
        resource = followed(issuer, feed, revocation_fail_closed=fail_closed)
        async with running_api(resource, clock, wait_for_keys=False) as api:
            await until(lambda api=api: health(api).failures_in_row > 0)  # type: ignore[misc]
            await until(lambda api=api: api.protection.health().issuers[0].keys.usable)  # type: ignore[misc]
            assert (await api.get(token=mint())).status == status


@pytest.mark.parametrize("seconds", [-30, 30])
async def test_clocks_may_differ_by_half_a_minute(issuer: Issuer, feed: Feed, clock: FrozenClock, seconds: int) -> None:
    """Either way: the feed is followed, and what it says is weighed by the issuer's clock alone."""
    feed.ahead_seconds = seconds
    async with following(issuer, feed, clock) as api:
        feed.revoke(RevokedKind.ACCOUNT, "u", before=int(clock.now()) - 10)
        await taken_in(api, feed)
        assert (await api.get(token=mint(claims={"sub": "u"}))).status == 401
        assert (await api.get(token=mint(claims={"sub": "u", "iat": int(clock.now()) - 9}))).status == 200


async def test_a_document_of_another_time_is_not_used(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """Replayed: an old document does not count as news, and takes nothing back."""
    async with following(issuer, feed, clock) as api:
        old = feed.document(0)
        feed.revoke(RevokedKind.TOKEN, "a-token")
        await taken_in(api, feed)
        feed.replay = old
        feed.wake()
        await pass_time(api, clock, 30)
        assert (await api.get(token=mint())).status == 401
        await pass_time(api, clock, 100)
        await until(lambda: health(api).faults.get("not_current", 0) > 0)
        assert health(api).stale
        assert (await api.get(token=mint())).status == 401
        feed.replay = None
        await pass_time(api, clock, 6)
        await taken_in(api, feed)
        assert not health(api).stale


@pytest.mark.parametrize("body", ["forged", "truncated", "token", "other issuer", "other key", "empty", "out of place"])
async def test_a_document_that_is_not_the_issuers_is_not_used(
    issuer: Issuer, feed: Feed, clock: FrozenClock, body: str
) -> None:
    """Whatever it is, it takes nothing back and revokes nothing."""
    async with following(issuer, feed, clock) as api:
        feed.revoke(RevokedKind.TOKEN, "a-token")
        await taken_in(api, feed)
        good = feed.document(0)
        stranger = Feed(clock, key=signing_key("RS256", 7))
        stranger.revoke(RevokedKind.CLIENT, "first-party")
        feed.replay = {
            "forged": good[:-10] + b"AAAAAAAAAA",
            "truncated": good[: len(good) // 2],
            "token": mint().encode(),
            "other issuer": feed.document(0, issuer=ISSUER + "/"),
            "other key": stranger.document(0),
            "empty": b".",
            "out of place": feed.document(2, reached=Position(9, "x"), head=9),
        }[body]
        feed.wake()
        await pass_time(api, clock, 3)
        await until(lambda: health(api).failures_in_row > 0)
        assert (await api.get(token=mint())).status == 401
        assert (await api.get(token=mint(claims={"jti": "b"}))).status == 200
        feed.replay = None
        await pass_time(api, clock, 6)
        await taken_in(api, feed)


async def test_a_replica_that_lags_takes_nothing_back(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """Behind one address stands now this replica, now one that has not come so far: what was heard of holds, and what
    the other does not have yet is heard as soon as it has it."""
    async with following(issuer, feed, clock) as api:
        for name in ("one", "two", "three"):
            feed.revoke(RevokedKind.TOKEN, name)
        await taken_in(api, feed)
        feed.lag = 2
        feed.revoke(RevokedKind.TOKEN, "four")
        await until(lambda: health(api).sequence == 2)
        for name, status in (("one", 401), ("two", 401), ("three", 401), ("four", 200), ("five", 200)):
            assert (await api.get(token=mint(claims={"jti": name}))).status == status
        assert not health(api).stale
        feed.lag = 0
        feed.wake()
        await taken_in(api, feed)
        for name, status in (("three", 401), ("four", 401), ("five", 200)):
            assert (await api.get(token=mint(claims={"jti": name}))).status == status


async def test_a_feed_that_was_set_back_is_read_anew(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """A restored backup: what was known stays known, also what the backup has lost; what is new is not missed, even
    when the feed has grown past our place meanwhile."""
    async with following(issuer, feed, clock) as api:
        for name in ("one", "two", "a-token"):
            feed.revoke(RevokedKind.TOKEN, name)
        await taken_in(api, feed)
        feed.set_back(2, "other")
        for name in ("three", "four", "five", "six"):
            feed.revoke(RevokedKind.TOKEN, name)
        await taken_in(api, feed)
        for name in ("one", "two", "three", "four", "five", "six", "a-token"):
            assert (await api.get(token=mint(claims={"jti": name}))).status == 401
        assert (await api.get(token=mint(claims={"jti": "seven"}))).status == 200


async def test_a_revoked_key_speaks_no_more(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """Its tokens are refused though the key set still has it, and so are documents that it signs."""
    successor = signing_key("RS256", 1)
    async with following(issuer, feed, clock) as api:
        feed.revoke(RevokedKind.KEY, signing_key().kid)
        await taken_in(api, feed)
        assert (await api.get(token=mint())).status == 401
        feed.revoke(RevokedKind.CLIENT, "first-party")
        await pass_time(api, clock, 2)
        await until(lambda: health(api).faults.get("revoked_key", 0) > 0)
        # The key that takes over is fetched though nobody has sent a token of it.
        issuer.keys = [successor]
        feed.key = successor
        feed.wake()
        await pass_time(api, clock, 10)
        await taken_in(api, feed)
        assert (await api.get(token=mint(key=successor))).status == 401
        assert (await api.get(token=mint(key=successor, claims={"client_id": "other"}))).status == 200


async def test_the_feed_is_found_through_metadata(clock: FrozenClock, issuer: Issuer, feed: Feed) -> None:
    """`revocations_uri`; and an issuer that names none is served without one."""
    for uri, state in ((feed.uri, FeedState.FOLLOWED), (None, FeedState.NONE)):
        metadata = {"issuer": issuer.url, "jwks_uri": issuer.jwks_uri, "revocations_uri": uri}
        named = {name: value for name, value in metadata.items() if value is not None}
        issuer.metadata_answers["/.well-known/oauth-authorization-server"] = json_of(named)
        resource = ProtectedResource(AUDIENCE, (TrustedIssuer(issuer.url),))
        feed.issuer = issuer.url
        async with running_api(resource, clock) as api:
            await until(lambda api=api: health(api).usable)  # type: ignore[misc]
            assert health(api).state is state
            assert (await api.get(token=mint(claims={"iss": issuer.url}))).status == 200


async def test_figures_show_how_the_feed_does(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """State, age, what is held and what failed, by issuer."""
    async with following(issuer, feed, clock) as api:
        feed.revoke(RevokedKind.TOKEN, "a-token")
        await taken_in(api, feed)
        samples = {
            sample.name: sample.value for metric in api.protection.figures.collect() for sample in metric.samples
        }
        assert samples["signet_protection_revocations_followed"] == 1
        assert samples["signet_protection_revocations_held"] == 1
        assert samples["signet_protection_revocations_age_seconds"] == 0
        assert samples["signet_protection_revocations_stale"] == 0


async def test_a_cache_that_ignores_the_query_is_not_asked_without_end(
    issuer: Issuer, feed: Feed, clock: FrozenClock
) -> None:
    """It answers every request with the first document: what that tells is known, and soon one asks once a second."""
    feed.revoke(RevokedKind.TOKEN, "a-token")
    feed.replay = feed.document(0)
    async with following(issuer, feed, clock) as api:
        await until(lambda: health(api).held > 0)
        await asyncio.sleep(1.5)
        assert 5 < len(feed.requests) < 12
        assert (await api.get(token=mint(claims={"jti": "a-token"}))).status == 401


async def test_a_document_that_leads_nowhere_is_a_failure(issuer: Issuer, feed: Feed, clock: FrozenClock) -> None:
    """The first of two again and again: the rest of the feed cannot be had, and that is said and seen."""
    for number in range(MAX_ENTRIES + 1):
        feed.revoke(RevokedKind.TOKEN, f"token-{number}")
    feed.replay = feed.document(0)
    async with following(issuer, feed, clock) as api:
        await until(lambda: health(api).faults.get("out_of_place", 0) > 0)
        assert (await api.get(token=mint(claims={"jti": "token-0"}))).status == 401
        feed.replay = None
        clock.advance(10)
        await taken_in(api, feed)
        assert (await api.get(token=mint(claims={"jti": f"token-{MAX_ENTRIES}"}))).status == 401
