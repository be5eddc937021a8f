"""The status lists' reader over HTTP, against lists that are late, forged, expired, huge, moved and gone."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from resource_service.protection import remote_status_list
from resource_service.protection.remote_status_list import (
    FIRST_SIGHT_SECONDS,
    FIRST_SIGHTS,
    MAX_TTL_SECONDS,
    UNUSED_SECONDS,
    StatusListHealth,
)
from resource_service.protection.revocation import RevocationsUnavailable, StatusListUnknown
from shared import base64url
from shared.access_token import VerifiedAccessToken
from shared.revocation_feed import RevokedKind
from shared.status_list import MEDIA_TYPE, list_of_invalid
from tests.clock import FrozenClock
from tests.protocol.minting import ISSUER, mint, sign_bytes, signing_key
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.feed import running_feed
from tests.resource_service.protection.issuer import Answer, Issuer, body_of, break_off, hang, redirect, until
from tests.resource_service.protection.lists import LIFETIME_SECONDS, TTL_SECONDS, Lists, running_lists
from tests.resource_service.protection.test_revocation_feed import mount_careful

SUSPENDED = 2


@pytest.fixture
async def lists(clock: FrozenClock) -> AsyncIterator[Lists]:
    async with running_lists(clock) as running:
        yield running


def following(issuer: Issuer, lists: Lists, clock: FrozenClock, **changes: Any) -> AbstractAsyncContextManager[Api]:
    """The sample application, which follows the lists of its issuer and no feed."""
    resource = resource_of(issuer)
    trusted = replace(resource.issuers[0], status_list_prefix=lists.prefix)
    return running_api(replace(resource, issuers=(trusted,), **changes), clock)


def health(api: Api) -> StatusListHealth:
    return api.protection.health().issuers[0].status_lists


async def refreshed(api: Api, clock: FrozenClock, seconds: float = TTL_SECONDS) -> None:
    """Move the clock on and wait until one more fetch is over."""
    await until(lambda: is_idle(api))
    before = health(api).fetches
    clock.advance(seconds)
    await until(lambda: health(api).fetches > before and is_idle(api))


def is_idle(api: Api) -> bool:
    """Whether no list is being fetched."""
    figures = health(api)
    return figures.fetches == figures.taken_in + sum(figures.faults.values())


async def test_a_token_is_what_its_list_says(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """0 is valid; 1, 2 and whatever else there may be is refused, and the answer says no more than of any other."""
    for idx, status in enumerate((0, 1, SUSPENDED, 3)):
        lists.set(idx, status)
    async with following(issuer, lists, clock) as api:
        for _ in range(2):  # the second time from the cache
            assert [(await api.get(token=lists.mint(idx))).status for idx in range(4)] == [200, 401, 401, 401]
        refusal = await api.get(token=lists.mint(1))
        assert 'error="invalid_token"' in refusal.headers["WWW-Authenticate"]
        assert lists.requests == ["/lists/1"]
        assert api.protection.health().refusals["revoked"] == 7  # type: ignore[index]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
async def test_every_size_of_a_status_is_read(issuer: Issuer, lists: Lists, clock: FrozenClock, bits: int) -> None:
    """The last index has a status, the one behind it none: nothing can be said, and the token is refused."""
    lists.bits = bits
    last = len(lists.packed) * 8 // bits - 1
    lists.set(last - 1, 1)
    async with following(issuer, lists, clock) as api:
        assert (await api.get(token=lists.mint(last))).status == 200
        assert (await api.get(token=lists.mint(last - 1))).status == 401
        assert (await api.get(token=lists.mint(last + 1))).status == 401
        assert (await api.get(token=lists.mint(2**53 - 1))).status == 401


async def test_a_token_without_status_is_good_without_a_list(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Who gives tokens a status, and which, is the issuer's to know; nothing is fetched for others."""
    async with following(issuer, lists, clock, revocation_fail_closed=True) as api:
        assert (await api.get(token=mint())).status == 200
        assert lists.requests == []


async def test_an_issuer_whose_lists_are_not_followed(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Without a prefix nobody looks at the claim, whatever it is."""
    lists.set(0, 1)
    async with running_api(resource_of(issuer), clock) as api:
        for status in (lists.status(0), "active", {"status_list": {"idx": -1, "uri": "x"}}):
            assert (await api.get(token=mint(claims={"status": status}))).status == 200
        assert lists.requests == []


@pytest.mark.parametrize("idx", [-1, True, "0", 1.5, None, [0], 2**60])
async def test_an_index_that_is_none_refuses_its_token(
    issuer: Issuer, lists: Lists, clock: FrozenClock, idx: object
) -> None:
    """And nothing is asked for its sake."""
    async with following(issuer, lists, clock) as api:
        assert (await api.get(token=lists.mint(idx))).status == 401
        assert lists.requests == []


async def test_a_list_elsewhere_is_not_asked_for(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """An address that does not lie below the prefix refuses its token; nobody is asked."""
    begin = lists.prefix
    async with following(issuer, lists, clock) as api:
        for uri in (
            f"{begin}/../x",
            f"{begin}-evil/1",
            f"{begin}/%2e%2e/x",
            f"{begin}//1",
            f"{begin}/1?x",
            begin.replace("127.0.0.1", "user@127.0.0.1") + "/1",
            begin.replace("127.0.0.1", "127.0.0.1.evil.example") + "/1",
            begin.replace("http:", "https:") + "/1",
            begin.replace("127.0.0.1", "localhost") + "/1",
            "http://127.0.0.1:1/lists/1",
            "file:///etc/passwd",
            "/lists/1",
        ):
            token = lists.mint(0, status={"status_list": {"idx": 0, "uri": uri}})
            assert (await api.get(token=token)).status == 401
        assert lists.requests == []
        assert api.protection.health().refusals["status"] == 12  # type: ignore[index]


async def test_what_changes_is_heard_within_the_ttl(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Without a request that waits: the list is fetched in the background, before its time is up."""
    async with following(issuer, lists, clock) as api:
        token = lists.mint(5)
        assert (await api.get(token=token)).status == 200
        lists.set(5, 1)
        clock.advance(TTL_SECONDS * 0.79)
        await asyncio.sleep(0.05)
        assert len(lists.requests) == 1
        assert (await api.get(token=token)).status == 200
        await refreshed(api, clock, TTL_SECONDS * 0.21)
        assert (await api.get(token=token)).status == 401
        lists.set(5, 0)
        await refreshed(api, clock)
        assert (await api.get(token=token)).status == 200


async def test_a_list_from_a_cache_is_not_kept_for_another_ttl(
    issuer: Issuer, lists: Lists, clock: FrozenClock
) -> None:
    """Its ttl runs from its `iat`; but nobody is asked more often than each five seconds."""
    lists.changes = {"issued_at": int(clock.now()) - 50}
    async with following(issuer, lists, clock) as api:
        assert (await api.get(token=lists.mint())).status == 200
        await refreshed(api, clock, 10)
        lists.changes = {"issued_at": int(clock.now()) - 50, "ttl": 1}
        await refreshed(api, clock, 10)
        clock.advance(4.9)
        await asyncio.sleep(0.05)
        assert len(lists.requests) == 3
        await refreshed(api, clock, 0.2)


async def test_requests_together_cost_one_fetch(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Who comes while a list is fetched for the first time waits for that."""
    lists.hold.clear()
    async with following(issuer, lists, clock) as api:
        asking = [asyncio.create_task(api.get(token=lists.mint(idx))) for idx in range(20)]
        await until(lambda: health(api).waiting == 20)
        lists.hold.set()
        assert {reply.status for reply in await asyncio.gather(*asking)} == {200}
        assert len(lists.requests) == 1
        assert health(api).waiting == 0


def raw_list(lists: Lists, **claims: object) -> Answer:
    """A list of any claims, signed by the issuer's key."""
    now = int(lists.clock.now())
    good = {"sub": f"{lists.prefix}/1", "iat": now, "exp": now + 300, "ttl": 60}
    header = {"alg": "RS256", "typ": "statuslist+jwt", "kid": lists.key.kid}
    body = sign_bytes(json.dumps(header).encode(), json.dumps({**good, **claims}).encode(), lists.key)
    return body_of(body.encode(), MEDIA_TYPE)


def lst(compressed: bytes, bits: object = 1) -> dict[str, object]:
    return {"status_list": {"bits": bits, "lst": base64url.encode(compressed)}}


def bomb() -> bytes:
    deflate = zlib.compressobj(9)
    return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(64)) + deflate.flush()


def bad_answer(name: str, lists: Lists) -> Answer:
    """A list that must not be used, by what is wrong with it."""
    uri, whole = f"{lists.prefix}/1", zlib.compress(bytes(16))
    stranger = replace(lists, key=signing_key("RS256", 7))
    access_token = mint(claims={"sub": uri, **lst(whole)}).encode()
    answers: dict[str, Answer] = {
        "redirect": redirect,
        "hang": hang,
        "broken off": break_off,
        "404": body_of(lists.token(uri), MEDIA_TYPE, status=404),
        "500": body_of(b"", MEDIA_TYPE, status=500),
        "another type": body_of(lists.token(uri), "application/json"),
        "encoded": body_of(lists.token(uri), MEDIA_TYPE, Content_Encoding="gzip"),
        "huge": body_of(b"a" * 2_200_000, MEDIA_TYPE),
        "empty": body_of(b"", MEDIA_TYPE),
        "access token": body_of(access_token, MEDIA_TYPE),
        "other list": body_of(lists.token(f"{lists.prefix}/2"), MEDIA_TYPE),
        "other key": body_of(stranger.token(uri), MEDIA_TYPE),
        "forged": body_of(lists.token(uri).rpartition(b".")[0] + b".AAAA", MEDIA_TYPE),
        "truncated": body_of(lists.token(uri)[:100], MEDIA_TYPE),
        "wrong sub": raw_list(lists, sub=f"{lists.prefix}/1/", **lst(whole)),
        "wrong iss": raw_list(lists, iss="https://other.example", **lst(whole)),
        "expired": raw_list(lists, exp=int(lists.clock.now()), **lst(whole)),
        "of the future": raw_list(lists, iat=int(lists.clock.now()) + 125, **lst(whole)),
        "old without exp": raw_list(lists, exp=None, iat=int(lists.clock.now()) - 86_400, **lst(whole)),
        "bomb": raw_list(lists, **lst(bomb())),
        "bits 3": raw_list(lists, **lst(whole, 3)),
        "bits true": raw_list(lists, **lst(whole, True)),
        "cut": raw_list(lists, **lst(whole[:-1])),
        "trailing": raw_list(lists, **lst(whole + b"\0")),
        "no list": raw_list(lists),
    }
    return answers[name]


BAD = [
    *("redirect", "hang", "broken off", "404", "500", "another type", "encoded", "huge", "empty", "access token"),
    *("other list", "other key", "forged", "truncated", "wrong sub", "wrong iss", "expired", "of the future"),
    *("old without exp", "bomb", "bits 3", "bits true", "cut", "trailing", "no list"),
]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("fail_closed", [False, True], ids=["open", "closed"])
async def test_a_bad_list_at_first_sight(
    issuer: Issuer, lists: Lists, clock: FrozenClock, name: str, fail_closed: bool
) -> None:
    """Nothing can be said: closed answers 503 and when to come again, open lets through; a good one ends that."""
    lists.answer = bad_answer(name, lists)
    lists.set(1, 1)
    async with following(issuer, lists, clock, revocation_fail_closed=fail_closed) as api:
        reply = await api.get(token=lists.mint())
        assert reply.status == (503 if fail_closed else 200)
        if fail_closed:
            assert reply.headers["Retry-After"] == "1"
            assert "WWW-Authenticate" not in reply.headers
        assert (await api.get(token=mint())).status == 200
        assert sum(health(api).faults.values()) == 1
        assert health(api).usable is not fail_closed
        lists.answer = None
        await refreshed(api, clock, 1.1)
        assert (await api.get(token=lists.mint())).status == 200
        assert (await api.get(token=lists.mint(1))).status == 401
        assert health(api).usable


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_list_never_replaces_a_good_one(
    issuer: Issuer, lists: Lists, clock: FrozenClock, name: str
) -> None:
    """What was known goes on to hold, either way."""
    lists.set(1, 1)
    async with following(issuer, lists, clock, revocation_fail_closed=True) as api:
        assert (await api.get(token=lists.mint())).status == 200
        clock.advance(1)
        lists.answer = bad_answer(name, lists)
        await refreshed(api, clock)
        assert (await api.get(token=lists.mint())).status == 200
        assert (await api.get(token=lists.mint(1))).status == 401
        assert sum(health(api).faults.values()) == 1


async def test_an_older_list_never_replaces_a_newer_one(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Replayed by whoever stands between: signed well and not expired, and all the same not taken."""
    old = lists.token(f"{lists.prefix}/1")
    clock.advance(10)
    lists.set(0, 1)
    async with following(issuer, lists, clock) as api:
        assert (await api.get(token=lists.mint())).status == 401
        lists.answer = body_of(old, MEDIA_TYPE)
        await refreshed(api, clock)
        assert health(api).faults == {"older": 1}
        assert (await api.get(token=lists.mint())).status == 401


@pytest.mark.parametrize("fail_closed", [False, True], ids=["open", "closed"])
async def test_a_list_vouches_for_nobody_after_its_end(
    issuer: Issuer, lists: Lists, clock: FrozenClock, fail_closed: bool
) -> None:
    """Until `exp`, and not when a clock is set back; what it refused stays refused."""
    lists.set(1, 1)
    stale_seconds = 400  # so that it is `exp` which ends it
    async with following(
        issuer, lists, clock, revocation_fail_closed=fail_closed, revocation_stale_seconds=stale_seconds
    ) as api:
        good, bad = lists.mint(), lists.mint(1)
        assert (await api.get(token=good)).status == 200
        lists.answer = body_of(b"", MEDIA_TYPE, status=500)
        await refreshed(api, clock, LIFETIME_SECONDS - 1)
        assert (await api.get(token=good)).status == 200
        clock.advance(1)
        assert (await api.get(token=good)).status == (503 if fail_closed else 200)
        assert (await api.get(token=bad)).status == 401
        clock.skew(-30)
        assert (await api.get(token=good)).status == (503 if fail_closed else 200)
        assert (await api.get(token=bad)).status == 401
        assert health(api).usable is not fail_closed


async def test_silence_shows_and_closes_as_it_does_for_a_feed(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Stale a while after it was due: seen in readiness, 503 where that is the mode, good again when it is heard."""
    async with following(issuer, lists, clock, revocation_fail_closed=True, revocation_stale_seconds=30) as api:
        token = lists.mint()
        assert (await api.get(token=token)).status == 200
        ready, report = await api.protection.readiness.report()
        assert (ready, report["status_lists"], report["status_lists_stale"]) == (True, 1, False)
        assert report["status_lists_age_seconds"] == 0
        lists.answer = body_of(b"", MEDIA_TYPE, status=500)
        await refreshed(api, clock, TTL_SECONDS)
        assert (await api.get(token=token)).status == 200
        clock.advance(31)
        assert (await api.get(token=token)).status == 503
        ready, report = await api.protection.readiness.report()
        assert (ready, report["status_lists_stale"]) == (False, True)
        lists.answer = None
        await refreshed(api, clock)
        assert (await api.get(token=token)).status == 200
        assert (await api.protection.readiness.report())[0]


async def test_a_first_fetch_is_waited_for_only_so_long(
    issuer: Issuer, lists: Lists, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it counts as failed until it is over, and nobody who comes later waits."""
    monkeypatch.setattr(remote_status_list, "WAIT_SECONDS", 0.05)
    lists.hold.clear()
    lists.set(0, 1)
    loop = asyncio.get_running_loop()
    async with following(issuer, lists, clock) as api:
        begun = loop.time()
        assert (await api.get(token=lists.mint())).status == 200
        assert loop.time() - begun >= 0.05
        assert (await api.get(token=lists.mint())).status == 200
        assert health(api).waiting == 0
        assert len(lists.requests) == 1
        lists.hold.set()
        await until(lambda: health(api).age is not None)
        assert (await api.get(token=lists.mint())).status == 401


async def test_too_many_do_not_wait(
    issuer: Issuer, lists: Lists, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next ones are told to come back."""
    monkeypatch.setattr(remote_status_list, "MAX_WAITERS", 2)
    lists.hold.clear()
    async with following(issuer, lists, clock) as api:
        asking = [asyncio.create_task(api.get(token=lists.mint(idx))) for idx in range(2)]
        await until(lambda: health(api).waiting == 2)
        assert (await api.get(token=lists.mint(3))).status == 503
        lists.hold.set()
        assert {reply.status for reply in await asyncio.gather(*asking)} == {200}


@pytest.mark.parametrize("fail_closed", [False, True], ids=["open", "closed"])
async def test_callers_cannot_make_us_ask_for_ever_more(
    issuer: Issuer, lists: Lists, clock: FrozenClock, fail_closed: bool
) -> None:
    """So many lists at once, then one each second; a list that was not looked at is in no mode a reason to accept."""
    async with following(issuer, lists, clock, revocation_fail_closed=fail_closed) as api:
        tokens = [lists.mint(0, status=lists.status(0, name=str(number))) for number in range(FIRST_SIGHTS + 6)]
        statuses = [(await api.get(token=token)).status for token in tokens]
        assert statuses == [200] * FIRST_SIGHTS + [503] * 6
        assert len(lists.requests) == FIRST_SIGHTS
        clock.advance(FIRST_SIGHT_SECONDS)
        assert (await api.get(token=tokens[-1])).status == 200
        assert len(lists.requests) == FIRST_SIGHTS + 1


async def test_a_list_that_was_put_out_makes_no_revoked_token_good(
    issuer: Issuer, lists: Lists, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may need its room, and nobody may be allowed to ask for it again just now: 503, never 200."""
    monkeypatch.setattr(remote_status_list, "MAX_LISTS", 4)
    lists.set(0, 1)
    async with following(issuer, lists, clock) as api:
        revoked = lists.mint(0, status=lists.status(0, name="revoked"))
        assert (await api.get(token=revoked)).status == 401
        for number in range(FIRST_SIGHTS - 1):
            clock.advance(0.001)
            await api.get(token=lists.mint(1, status=lists.status(1, name=str(number))))
        assert health(api).lists == 4
        assert (await api.get(token=revoked)).status == 503
        clock.advance(FIRST_SIGHT_SECONDS)
        assert (await api.get(token=revoked)).status == 401


async def test_lists_are_bounded_and_the_unused_go(
    issuer: Issuer, lists: Lists, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that was not asked for longest makes room; what nobody asks for at all is not kept fresh."""
    monkeypatch.setattr(remote_status_list, "MAX_LISTS", 32)
    lists.changes = {"ttl": 86_400, "expires_at": int(clock.now()) + 86_400}
    async with following(issuer, lists, clock) as api:
        for number in range(32 + 3):
            clock.advance(5)
            token = lists.mint(0, status=lists.status(0, name=str(number)))
            assert (await api.get(token=token)).status == 200
            assert health(api).lists == min(number + 1, 32)
        asked = len(lists.requests)
        first = lists.mint(0, status=lists.status(0, name="0"))
        clock.advance(5)
        assert (await api.get(token=first)).status == 200
        assert len(lists.requests) == asked + 1
        for _ in range(int(UNUSED_SECONDS // MAX_TTL_SECONDS) + 1):
            clock.advance(MAX_TTL_SECONDS)
            await asyncio.sleep(0.1)
        await until(lambda: health(api).lists == 0)


async def test_what_was_refused_stays_so_for_as_long_as_a_token_may_live(
    issuer: Issuer, lists: Lists, clock: FrozenClock
) -> None:
    """Where tokens live longer than usual, so does a list that nobody asks for; it may not be had again."""
    resource = resource_of(issuer)
    trusted = replace(resource.issuers[0], status_list_prefix=lists.prefix, max_lifetime=7_200)
    claims = {"exp": int(clock.now()) + 7_200}
    lists.set(1, 1)
    lists.changes = {"ttl": 86_400, "expires_at": int(clock.now()) + 86_400}
    refused, good = lists.mint(1, **claims), lists.mint(0, **claims)
    async with running_api(replace(resource, issuers=(trusted,)), clock) as api:
        assert [(await api.get(token=token)).status for token in (refused, good)] == [401, 200]
        lists.answer = body_of(b"", MEDIA_TYPE, status=500)
        for _ in range(7):
            clock.advance(MAX_TTL_SECONDS)
            await asyncio.sleep(0.05)
        assert health(api).lists == 1
        assert [(await api.get(token=token)).status for token in (refused, good)] == [401, 200]


async def test_who_asks_in_another_way_needs_no_list(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """An application's own revocation check: no list is fetched, and none has to be fresh."""

    class Never:
        def is_revoked(self, _token: VerifiedAccessToken) -> bool:
            return False

    resource = resource_of(issuer)
    trusted = replace(resource.issuers[0], status_list_prefix=lists.prefix)
    resource = replace(resource, issuers=(trusted,))
    async with running_api(resource, clock, revocation=Never(), prepare=mount_careful) as api:
        assert (await api.get("/careful", lists.mint(0))).status == 204
        assert lists.requests == []


async def test_a_revoked_key_signs_no_list(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Where the issuer has a feed as well, what that says of a key holds for lists, too."""
    async with running_feed(clock) as feed:
        resource = resource_of(issuer)
        trusted = replace(resource.issuers[0], status_list_prefix=lists.prefix, revocations_uri=feed.uri)
        lists.key = signing_key("RS256", 1)
        issuer.keys = [signing_key(), lists.key]
        feed.revoke(RevokedKind.KEY, lists.key.kid)
        async with running_api(replace(resource, issuers=(trusted,)), clock) as api:
            await until(lambda: api.protection.health().issuers[0].revocations.held == 1)
            assert (await api.get(token=lists.mint())).status == 200
            assert health(api).faults == {"revoked_key": 1}


async def test_a_list_signed_by_a_new_key_is_read(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """The key set is fetched again for its sake."""
    async with following(issuer, lists, clock) as api:
        lists.key = signing_key("RS256", 1)
        issuer.keys = [signing_key(), lists.key]
        lists.set(0, 1)
        assert (await api.get(token=lists.mint())).status == 401


async def test_who_does_not_wait_is_told_that_nothing_is_known(
    issuer: Issuer, lists: Lists, clock: FrozenClock
) -> None:
    """The verifier by itself, without the gate that waits: never a token of an unknown list."""
    async with following(issuer, lists, clock) as api:
        await api.get(token=mint())
        with pytest.raises(StatusListUnknown) as unknown:
            api.protection.verifier.verify_at_once(lists.mint())
        assert isinstance(unknown.value, RevocationsUnavailable)
        assert (unknown.value.status, unknown.value.issuer) == (503, ISSUER)


async def test_the_figures_tell_how_lists_do(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """How many, how old, how often fetched, and what failed."""
    async with following(issuer, lists, clock) as api:
        await api.get(token=lists.mint())
        lists.answer = body_of(b"", MEDIA_TYPE, status=500)
        with capture_logs() as lines:
            await refreshed(api, clock)
        assert [(line["event"], line["fault"], line["uri"]) for line in lines] == [
            ("status_list_failed", "status", f"{lists.prefix}/1")
        ]
        samples = {
            sample.name.removeprefix("signet_protection_"): sample.value
            for metric in api.protection.figures.collect()
            for sample in metric.samples
        }
        assert samples["status_lists"] == 1
        assert samples["status_lists_stale"] == 0
        assert samples["status_lists_age_seconds"] == TTL_SECONDS
        assert samples["status_lists_waiting"] == 0
        assert samples["status_list_fetches_total"] == 2
        assert samples["status_lists_taken_in_total"] == 1
        assert samples["status_list_failures_total"] == 1


async def test_a_large_list_is_read(issuer: Issuer, lists: Lists, clock: FrozenClock) -> None:
    """Sixteen million tokens, as much as a list may hold, and half a million of them refused."""
    refused = range(3, 16 * 2**20, 32)
    statuses = list_of_invalid(16 * 2**20, refused)
    lists.bits, lists.changes = 1, {"statuses": statuses}
    async with following(issuer, lists, clock) as api:
        assert (await api.get(token=lists.mint(2))).status == 200
        assert (await api.get(token=lists.mint(refused[-1]))).status == 401
        assert health(api).faults == {}
