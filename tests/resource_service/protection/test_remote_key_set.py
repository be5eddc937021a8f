"""The remote key set against a real server: fresh ahead of time, bounded when stale, never worse than it was."""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from resource_service.protection import remote_key_set
from resource_service.protection.attempt_gate import REFILL_SECONDS
from resource_service.protection.bounded_fetch import Document, FetchFault, FetchLimits
from resource_service.protection.configuration import STALE_SECONDS, TrustedIssuer
from resource_service.protection.remote_key_set import KeysUnavailable, RemoteKeySet
from tests.clock import FrozenClock
from tests.protocol.minting import ISSUER, key_set_of, signing_key
from tests.resource_service.protection.issuer import (
    JWK_SET,
    Answer,
    Issuer,
    body_of,
    break_off,
    byte_by_byte,
    endless,
    gzip_bomb,
    hang,
    json_of,
    other_length,
    redirect,
    until,
)

OLD, NEW = signing_key("RS256", 0), signing_key("RS256", 1)
LIMITS = FetchLimits(connect_seconds=0.5, total_seconds=0.5)


@asynccontextmanager
async def key_set(
    issuer: Issuer,
    clock: FrozenClock,
    trusted: TrustedIssuer | None = None,
    wait_seconds: float = 3.0,
    limits: FetchLimits = LIMITS,
) -> AsyncIterator[RemoteKeySet]:
    trusted = trusted or TrustedIssuer(ISSUER, jwks_uri=issuer.jwks_uri)
    keys = RemoteKeySet(trusted, clock, limits=limits, wait_seconds=wait_seconds)
    async with keys.running():
        yield keys


async def first_set(keys: RemoteKeySet) -> None:
    await until(lambda: keys.snapshot is not None)


async def attempts(keys: RemoteKeySet, count: int) -> None:
    """Wait until so many fetches were made, are over, and the next one is planned."""
    await until(
        lambda: keys.health().attempts >= count and keys._flight is None and keys._due > keys._clock.monotonic()
    )


async def test_a_start_fetches_the_set(issuer: Issuer, clock: FrozenClock) -> None:
    """The set is there soon after the start, and finding a key waits for nothing."""
    async with key_set(issuer, clock) as keys:
        assert keys.find(OLD.kid) is None
        await first_set(keys)
        assert keys.find(OLD.kid) == OLD.public_jwk
        assert keys.find("unknown") is None
        health = keys.health()
        assert (health.usable, health.stale, health.age, health.generation) == (True, False, 0, 1)
        assert health.kids == (OLD.kid,)


async def test_requests_are_modest(issuer: Issuer, clock: FrozenClock) -> None:
    """A fetch asks for what it can read: no compression, both media types, no cookies, nothing of the caller."""
    async with key_set(issuer, clock) as keys:
        await first_set(keys)
    asked = issuer.key_requests[0]
    assert asked["Accept"] == "application/jwk-set+json, application/json"
    assert asked["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Cache-Control"} & {name.title() for name in asked}


async def test_the_set_is_refreshed_ahead_of_expiry(issuer: Issuer, clock: FrozenClock) -> None:
    """At 80 % of its freshness, give or take a tenth, the set is fetched again (300 s when nothing is said)."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        clock.advance(300 * 0.8 * 0.9 - 1)
        await asyncio.sleep(0.05)
        assert len(issuer.key_requests) == 1
        clock.advance(300 * 0.8 * 0.2 + 2)
        await attempts(keys, 2)
        assert keys.health().age == 0
        assert not keys.health().stale


async def test_a_set_that_is_unchanged_is_not_sent_again(issuer: Issuer, clock: FrozenClock) -> None:
    """The ETag travels back, 304 renews the freshness, and the generation stays (so the token cache does too)."""
    issuer.etag = '"v1"'
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        assert "If-None-Match" not in issuer.key_requests[0]
        before = keys.snapshot
        for count in range(2, 5):
            clock.advance(299)
            await attempts(keys, count)
            assert issuer.key_requests[-1]["If-None-Match"] == '"v1"'
            health = keys.health()
            assert (health.age, health.generation, health.stale, health.failures_in_row) == (0, 1, False, 0)
        assert before is not None
        assert keys.snapshot is not None
        assert keys.snapshot.keys.by_kid is before.keys.by_kid


async def test_the_same_keys_sent_again_are_the_same_generation(issuer: Issuer, clock: FrozenClock) -> None:
    """Without an ETag the set is read again; the same keys in another order are no change."""
    issuer.keys = [OLD, NEW]
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.keys = [NEW, OLD]
        clock.advance(299)
        await attempts(keys, 2)
        assert keys.health().generation == 1


async def test_a_304_nobody_asked_for_is_a_failure(issuer: Issuer, clock: FrozenClock) -> None:
    """Not modified, without a condition, says nothing."""

    async def not_modified(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=304)

    issuer.answer = not_modified
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        assert keys.health().last_fault is FetchFault.REDIRECT
        assert keys.snapshot is None


async def test_a_removed_key_is_gone_at_the_next_refresh(issuer: Issuer, clock: FrozenClock) -> None:
    """A new set replaces the old one whole and begins a new generation (CVE-2025-22149)."""
    issuer.keys = [OLD, NEW]
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.keys = [NEW]
        clock.advance(299)
        await attempts(keys, 2)
        assert keys.find(OLD.kid) is None
        assert keys.find(NEW.kid) == NEW.public_jwk
        assert keys.health().generation == 2


async def test_another_key_under_the_same_id_is_a_change(issuer: Issuer, clock: FrozenClock) -> None:
    """The generation follows the keys, not their names."""
    issuer.answer = json_of({"keys": [OLD.public_jwk.as_json_object() | {"kid": "k"}]}, JWK_SET)
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.answer = json_of({"keys": [NEW.public_jwk.as_json_object() | {"kid": "k"}]}, JWK_SET)
        clock.advance(299)
        await attempts(keys, 2)
        assert keys.health().generation == 2
        found = keys.find("k")
        assert found is not None
        assert found.members == NEW.public_jwk.members


UNUSABLE_KEYS = {
    "keys": [
        OLD.public_jwk.as_json_object() | {"use": "enc"},
        {"kty": "oct", "kid": "s", "alg": "HS256", "k": "AA"},
        "rubbish",
    ]
}
BAD_SETS: dict[str, tuple[Answer, FetchFault]] = {
    "empty body": (body_of(b""), FetchFault.NOT_A_KEY_SET),
    "no keys": (json_of({"keys": []}, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "empty object": (json_of({}, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "a list": (json_of([], JWK_SET), FetchFault.NOT_A_KEY_SET),
    "keys an object": (json_of({"keys": {}}, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "unusable keys only": (json_of(UNUSABLE_KEYS, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "33 keys": (json_of({"keys": [OLD.public_jwk.as_json_object()] * 33}, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "the only key twice": (json_of({"keys": [OLD.public_jwk.as_json_object()] * 2}, JWK_SET), FetchFault.NOT_A_KEY_SET),
    "truncated": (body_of(key_set_of(OLD)[:-20]), FetchFault.NOT_A_KEY_SET),
    "duplicate member": (body_of(b'{"keys":[],' + key_set_of(OLD)[1:]), FetchFault.NOT_A_KEY_SET),
    "nested without end": (body_of(b'{"keys":' + b"[" * 30_000), FetchFault.NOT_A_KEY_SET),
    "UTF-16": (body_of(key_set_of(OLD).decode().encode("utf-16")), FetchFault.NOT_A_KEY_SET),
    "HTML as such": (body_of(b"<html>Sign in to the network</html>", "text/html"), FetchFault.CONTENT_TYPE),
    "HTML as JSON": (body_of(b"<html>Sign in to the network</html>"), FetchFault.NOT_A_KEY_SET),
    "good keys as text": (body_of(key_set_of(NEW), "text/plain"), FetchFault.CONTENT_TYPE),
    "redirect": (redirect, FetchFault.REDIRECT),
    "not found": (body_of(key_set_of(NEW), status=404), FetchFault.STATUS),
    "server error": (body_of(key_set_of(NEW), status=500), FetchFault.STATUS),
    "another success": (body_of(key_set_of(NEW), status=203), FetchFault.STATUS),
    "gzip bomb": (gzip_bomb, FetchFault.CONTENT_ENCODING),
    "unknown encoding": (body_of(key_set_of(NEW), Content_Encoding="br"), FetchFault.CONTENT_ENCODING),
    "50 MB": (endless, FetchFault.TOO_LARGE),
    "50 MB announced": (other_length, FetchFault.TOO_LARGE),
    "one byte over": (body_of(key_set_of(NEW).ljust(65_537)), FetchFault.TOO_LARGE),
    "byte by byte": (byte_by_byte, FetchFault.TIMEOUT),
    "no answer": (hang, FetchFault.TIMEOUT),
    "breaks off": (break_off, FetchFault.CONNECTION),
}


@pytest.mark.parametrize(("answer", "fault"), BAD_SETS.values(), ids=BAD_SETS.keys())
async def test_a_good_set_is_never_replaced_by_a_bad_one(
    issuer: Issuer, clock: FrozenClock, answer: Answer, fault: FetchFault
) -> None:
    """Whatever comes instead of a good set: the last good keys stay, time and memory are bounded, health tells."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.answer = answer
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        clock.advance(299)
        await attempts(keys, 2)
        assert time.perf_counter() - started < 7  # byte by byte it would be 8 s
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 60_000  # kB, the server's 40 MB included
        health = keys.health()
        assert (health.last_fault, health.faults, health.failures_in_row) == (fault, {fault: 1}, 1)
        assert keys.find(OLD.kid) == OLD.public_jwk
        assert health.generation == 1
        assert issuer.other_requests == []
        issuer.answer = None
        clock.advance(1)
        await attempts(keys, 3)
        assert keys.health().last_fault is None
        assert keys.health().failures_in_row == 0


async def test_unusable_keys_are_skipped_and_counted(issuer: Issuer, clock: FrozenClock) -> None:
    """Beside a good key anything may stand; each unusable one is counted by its reason (CVE-2026-42576)."""
    good = OLD.public_jwk.as_json_object()
    issuer.answer = json_of(
        {
            "keys": [
                *UNUSABLE_KEYS["keys"],
                signing_key("ES256").public_jwk.as_json_object(),
                good | {"kid": "twice"},
                NEW.public_jwk.as_json_object() | {"kid": "twice"},
                good | {"kid": "d", "d": "AQAB"},
                NEW.public_jwk.as_json_object(),
            ]
        },
        JWK_SET,
    )
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        health = keys.health()
        assert health.kids == (NEW.kid,)
        assert {reason.value: count for reason, count in health.skipped.items()} == {
            "use": 1,
            "private_member": 2,
            "not_an_object": 1,
            "algorithm": 1,
            "duplicate_key_id": 2,
        }


async def test_the_largest_set_is_read(issuer: Issuer, clock: FrozenClock) -> None:
    """32 keys in 64 KiB are within the limits."""
    jwks = [OLD.public_jwk.as_json_object() | {"kid": f"key {number}"} for number in range(32)]
    issuer.answer = body_of(json.dumps({"keys": jwks}).encode().ljust(65_536))
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        assert len(keys.health().kids) == 32


async def test_failures_are_retried_ever_more_slowly(issuer: Issuer, clock: FrozenClock) -> None:
    """After a failure the next attempt comes in 1, 2, 4 ... 60 s, a tenth less at most."""
    issuer.answer = body_of(b"", status=500)
    waits = []
    async with key_set(issuer, clock) as keys:
        for count in range(1, 10):
            await attempts(keys, count)
            waits.append(keys._due - clock.monotonic())
            clock.advance(waits[-1] + 0.001)
    for wait, longest in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert longest * 0.9 <= wait <= longest


async def test_known_keys_are_served_while_the_issuer_is_down_and_not_for_ever(
    issuer: Issuer, clock: FrozenClock
) -> None:
    """55 minutes of outage fail no valid request; an hour after the last success nothing is served any more."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.answer = body_of(b"", status=503)
        for _ in range(55):
            clock.advance(60)
            assert keys.find(OLD.kid) == OLD.public_jwk
            await asyncio.sleep(0.01)
        assert keys.health().stale
        assert keys.health().usable
        clock.advance(299.9)
        assert keys.find(OLD.kid) is not None
        clock.advance(0.2)
        assert keys.find(OLD.kid) is None
        assert not keys.health().usable
        with pytest.raises(KeysUnavailable) as refused:
            await keys.await_key(OLD.kid)
        assert refused.value.status == 503
        assert 1 <= int(refused.value.headers["Retry-After"]) <= 60
        issuer.answer = None
        await until(lambda: keys._flight is None and keys._due > clock.monotonic())
        clock.advance(61)
        await until(lambda: keys.health().usable)
        assert keys.find(OLD.kid) == OLD.public_jwk


async def test_the_stale_window_is_a_setting(issuer: Issuer, clock: FrozenClock) -> None:
    """With no stale window keys are gone once they are not fresh."""
    trusted = TrustedIssuer(ISSUER, jwks_uri=issuer.jwks_uri, stale_seconds=0)
    async with key_set(issuer, clock, trusted) as keys:
        await attempts(keys, 1)
        issuer.answer = hang
        clock.advance(299.9)
        assert keys.find(OLD.kid) is not None
        clock.advance(0.2)
        assert keys.find(OLD.kid) is None


async def test_a_cold_start_recovers_by_itself(issuer: Issuer, clock: FrozenClock) -> None:
    """With the issuer down there is a start, a 503, and the keys as soon as the issuer is back."""
    issuer.answer = body_of(b"", status=502)
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        assert not keys.health().usable
        with pytest.raises(KeysUnavailable):
            await keys.await_key(OLD.kid)
        issuer.answer = None
        clock.advance(4)
        await first_set(keys)
        assert keys.find(OLD.kid) == OLD.public_jwk


async def test_nobody_listening_is_a_failure_like_any_other(clock: FrozenClock, unused_tcp_port: int) -> None:
    """A refused connection is said and retried."""
    trusted = TrustedIssuer(ISSUER, jwks_uri=f"http://127.0.0.1:{unused_tcp_port}/keys")
    async with key_set(Issuer(), clock, trusted) as keys:
        await attempts(keys, 1)
        assert keys.health().last_fault is FetchFault.CONNECTION


async def test_a_request_may_wait_for_the_first_set(issuer: Issuer, clock: FrozenClock) -> None:
    """A token that comes before the first set is there waits for it instead of being refused."""
    issuer.hold.clear()
    async with key_set(issuer, clock) as keys:
        await until(lambda: len(issuer.key_requests) == 1)
        waiting = asyncio.create_task(keys.await_key(OLD.kid))
        await asyncio.sleep(0.01)
        issuer.hold.set()
        assert await waiting == OLD.public_jwk
        assert len(issuer.key_requests) == 1


async def test_a_new_key_is_found_when_its_first_token_comes(issuer: Issuer, clock: FrozenClock) -> None:
    """An unknown key id has the issuer asked once more, past every cache on the way."""
    issuer.etag = '"v1"'
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.keys, issuer.etag = [OLD, NEW], '"v2"'
        assert await keys.await_key(NEW.kid) == NEW.public_jwk
        assert keys.find(OLD.kid) == OLD.public_jwk
        assert issuer.key_requests[-1]["Cache-Control"] == "no-cache"
        assert len(issuer.key_requests) == 2


async def test_one_fetch_serves_all_who_wait(issuer: Issuer, clock: FrozenClock) -> None:
    """Fifty requests with the new key cause one fetch, and one that goes away does not take it from the others."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.keys = [OLD, NEW]
        issuer.hold.clear()
        waiting = [asyncio.create_task(keys.await_key(NEW.kid)) for _ in range(50)]
        await until(lambda: len(issuer.key_requests) == 2)
        assert keys.health().waiting == 50
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        issuer.hold.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [NEW.public_jwk] * 49
        assert len(issuer.key_requests) == 2
        assert keys.health().waiting == 0


async def test_unknown_keys_cannot_make_us_fetch_often(issuer: Issuer, clock: FrozenClock) -> None:
    """10,000 random key ids cause two fetches, then one in 30 s; those after the gate are refused at once."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        for number in range(10_000):
            assert await keys.await_key(f"random {number}") is None
        assert len(issuer.key_requests) == 3
        assert not keys.health().gate_open
        for expected in (4, 5):
            clock.advance(REFILL_SECONDS)
            for number in range(100):
                assert await keys.await_key(f"random {number}") is None
            assert len(issuer.key_requests) == expected


async def test_callers_are_told_when_asking_brings_nothing(issuer: Issuer, clock: FrozenClock) -> None:
    """Known to be all there is: only of a usable set, when no fetch is under way and callers may cause none."""
    async with key_set(issuer, clock) as keys:

        def knows_all() -> bool:
            return keys.knows_all

        assert not knows_all()
        await attempts(keys, 1)
        for _ in range(2):
            assert not knows_all()
            await keys.await_key("unknown")
            await until(lambda: keys._flight is None)
        assert knows_all()
        issuer.hold.clear()
        clock.advance(REFILL_SECONDS)
        assert not knows_all()
        waiting = asyncio.create_task(keys.await_key("unknown"))
        await until(lambda: keys.health().waiting == 1)
        assert not knows_all()
        issuer.hold.set()
        await waiting
        await until(knows_all)
        clock.advance(STALE_SECONDS)
        assert not knows_all()


async def test_failed_attempts_count_too(issuer: Issuer, clock: FrozenClock) -> None:
    """While the key endpoint fails the gate counts attempts, and known keys are still found (CVE-2026-48524)."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.answer = body_of(b"", status=500)
        for number in range(1_000):
            try:
                assert await keys.await_key(f"random {number}") is None
            except KeysUnavailable:
                assert number < 2  # those whose own fetch failed: nothing can be said of their tokens
        assert len(issuer.key_requests) == 3
        assert keys.find(OLD.kid) == OLD.public_jwk


async def test_a_fetch_under_way_may_be_too_old_for_a_new_key(issuer: Issuer, clock: FrozenClock) -> None:
    """A refresh that left before the key was published is followed by one of the request's own."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        served = itertools.count()

        async def old_then_new(_request: web.Request) -> web.StreamResponse:
            body = key_set_of(OLD) if next(served) == 0 else key_set_of(OLD, NEW)
            return web.Response(body=body, content_type=JWK_SET)

        issuer.answer = old_then_new
        issuer.hold.clear()
        clock.advance(299)
        await until(lambda: len(issuer.key_requests) == 2)
        waiting = [asyncio.create_task(keys.await_key(NEW.kid)) for _ in range(10)]
        await asyncio.sleep(0.01)
        issuer.hold.set()
        assert await asyncio.gather(*waiting) == [NEW.public_jwk] * 10
        assert len(issuer.key_requests) == 3


async def test_waiting_has_an_end(issuer: Issuer, clock: FrozenClock) -> None:
    """A request waits only so long for a slow issuer; it is told to come back, not that its token is bad."""
    patient = FetchLimits(connect_seconds=60, total_seconds=60)
    async with key_set(issuer, clock, wait_seconds=0.1, limits=patient) as keys:
        await attempts(keys, 1)
        issuer.hold.clear()
        with pytest.raises(KeysUnavailable):
            await keys.await_key("new")
        assert keys._flight is not None  # the issuer has not answered yet
        assert keys.health().waiting == 0


async def test_the_room_for_waiting_has_an_end(
    issuer: Issuer, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond so many waiting requests the next ones are turned away at once, so a flood does not pile up."""
    monkeypatch.setattr(remote_key_set, "MAX_WAITERS", 3)
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.hold.clear()
        waiting = [asyncio.create_task(keys.await_key("new")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(KeysUnavailable) as refused:
            await keys.await_key("new")
        assert refused.value.headers["Retry-After"] == "1"
        issuer.hold.set()
        assert await asyncio.gather(*waiting) == [None] * 3


async def test_an_older_answer_does_not_overwrite_a_newer(issuer: Issuer, clock: FrozenClock) -> None:
    """Fetches are numbered: what was asked earlier and comes later is not put in force."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        before = keys.snapshot
        assert keys._accept(0, Document(key_set_of(NEW), None, 300)) is False
        assert keys.snapshot is before


async def test_a_mistake_of_ours_does_not_end_refreshing(
    issuer: Issuer, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception nobody foresaw counts as a failed fetch; the next one is made all the same."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        with monkeypatch.context() as broken:
            broken.setattr(remote_key_set, "read_key_set", lambda *_: 1 / 0)
            clock.advance(299)
            await attempts(keys, 2)
            assert keys.health().last_fault is FetchFault.INTERNAL
        clock.advance(2)
        await attempts(keys, 3)
        assert keys.health().last_fault is None


async def test_a_stop_leaves_nothing_running(issuer: Issuer, clock: FrozenClock) -> None:
    """Leaving ends the refreshing and a fetch under way; nothing is fetched for anybody afterwards."""
    before = asyncio.all_tasks()
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        issuer.hold.clear()
        clock.advance(299)
        await until(lambda: len(issuer.key_requests) == 2)
    assert not [task for task in asyncio.all_tasks() - before if "key" in task.get_name()]
    assert await keys.await_key("other") is None
    assert len(issuer.key_requests) == 2


async def test_a_key_id_goes_nowhere(issuer: Issuer, clock: FrozenClock) -> None:
    """No key id reaches a path or an address (CVE-2026-32301, CVE-2026-41413)."""
    async with key_set(issuer, clock) as keys:
        await attempts(keys, 1)
        for kid in ("../../x", "http://169.254.169.254/", "keys?x=1"):
            assert await keys.await_key(kid) is None
        assert issuer.other_requests == []


async def test_generations_and_etags_survive_many_changes(issuer: Issuer, clock: FrozenClock) -> None:
    """Each changed set is a generation, whether the server tags it or not."""
    async with key_set(issuer, clock) as keys:
        for count in range(1, 7):
            await attempts(keys, count)
            assert keys.health().generation == count
            issuer.keys = [NEW if count % 2 else OLD]
            issuer.etag = f'"{count}"' if count % 3 else None
            clock.advance(299)


def test_a_snapshot_is_a_value(clock: FrozenClock) -> None:
    """What requests read cannot be written to."""
    keys = RemoteKeySet(TrustedIssuer(ISSUER, jwks_uri="http://localhost/keys"), clock)
    keys._accept(1, Document(key_set_of(OLD), None, 300))
    assert keys.snapshot is not None
    with pytest.raises(AttributeError):
        keys.snapshot.generation = 5  # type: ignore[misc]
    assert replace(keys.snapshot, generation=5) != keys.snapshot
