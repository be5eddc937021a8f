"""`/userData` and `/userData/{name}` over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientResponse, web

import resource_service.user_data.store
import shared.database
import shared.sqlite_engine
import shared.transactions
from resource_service.protection import ACCESS_TOKEN
from resource_service.user_data import endpoints
from shared.slow_client import write_piece
from tests.clock import FrozenClock
from tests.issuer import LocalIssuer
from tests.resource_service.running import RunningResourceService, run_resource_service
from tests.wire import exchange


async def listing(response: ClientResponse) -> object:
    assert response.status == 200
    body = await response.json()
    assert body.keys() == {"status", "data"}
    assert body["status"] == "Success"
    return body["data"]


async def assert_refused(response: ClientResponse, status: int, code: str) -> None:
    assert (response.status, (await response.json())["error"]) == (status, code)
    assert response.headers["Cache-Control"] == "no-store"


# Reading and writing.


async def test_a_new_caller_has_no_data(service: RunningResourceService) -> None:
    """Who has stored nothing gets an empty object."""
    response = await service.caller("ann").get()
    assert await response.read() == b'{"status":"Success","data":{}}'


async def test_an_item_is_created_read_replaced_and_deleted(service: RunningResourceService) -> None:
    """201 with where it is, 200 with what it is, 204 when it is replaced or deleted, 404 when it is gone."""
    ann = service.caller("ann")
    created = await ann.put("/userData/theme", b'"dark"')
    assert (created.status, created.headers["Location"], await created.read()) == (201, "/userData/theme", b"")
    read = await ann.get("/userData/theme")
    assert (read.status, await read.read(), read.headers["ETag"]) == (200, b'"dark"', created.headers["ETag"])
    replaced = await ann.put("/userData/theme", b'"light"')
    assert (replaced.status, await replaced.read(), "Location" in replaced.headers) == (204, b"", False)
    assert replaced.headers["ETag"] != created.headers["ETag"]
    assert await listing(await ann.get()) == {"theme": "light"}
    assert (await ann.delete("/userData/theme")).status == 204
    await assert_refused(await ann.get("/userData/theme"), 404, "not_found")
    await assert_refused(await ann.delete("/userData/theme"), 404, "not_found")
    assert await listing(await ann.get()) == {}


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"true",
        b"0",
        b"-0.0",
        b"1E5",
        b"123456789012345678901234567890",
        b'""',
        '"gr\u00fc\u00df\U0001f600"'.encode(),
        b'"\\u0000\\ud83d\\ude00\\/"',
        b"[]",
        b' \n{ "b" : 1.50, "a" : [ ] } \r\n',
        b'{"__proto__":{"x":1},"constructor":null}',
        b"[" * 32 + b"]" * 32,
    ],
)
async def test_a_value_comes_back_byte_for_byte(service: RunningResourceService, value: bytes) -> None:
    """Any JSON value is kept exactly as it was sent, and stands in the listing as it is."""
    ann = service.caller("ann")
    assert (await ann.put("/userData/v", value)).status == 201
    response = await ann.get("/userData/v")
    assert (await response.read(), response.headers["Content-Type"]) == (value, "application/json")
    assert await (await ann.get()).read() == b'{"status":"Success","data":{"v":' + value + b"}}"


async def test_data_is_stored_by_no_cache_on_the_way(service: RunningResourceService) -> None:
    """Private data must not stay in a browser's or a proxy's cache."""
    ann = service.caller("ann")
    answers = [await ann.put("/userData/a", b"1"), await ann.get("/userData/a"), await ann.get()]
    answers += [await ann.get("/userData/a", If_None_Match="*"), await ann.delete("/userData/a")]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["private, no-store"] * 5


async def test_the_listing_is_in_the_order_of_names(service: RunningResourceService) -> None:
    """The same data is the same text."""
    ann = service.caller("ann")
    for name in ("b", "a", "Z", "~", "0"):
        await ann.put(f"/userData/{name}", b"1")
    assert list((await (await ann.get()).json())["data"]) == ["0", "Z", "a", "b", "~"]


async def test_head_is_get_without_the_body(service: RunningResourceService) -> None:
    """HEAD answers what GET would, headers and all (RFC 9110 section 9.3.2)."""
    ann = service.caller("ann")
    await ann.put("/userData/a", b'"value"')
    for path in ("/userData", "/userData/a"):
        get, head = await ann.get(path), await ann.request("HEAD", path)
        assert (head.status, await head.read()) == (200, b"")
        assert {**head.headers, "X-Request-ID": "", "Date": ""} == {**get.headers, "X-Request-ID": "", "Date": ""}


async def test_items_survive_a_restart(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> None:
    """What was acknowledged is there when the service comes back."""
    async with run_resource_service(tmp_path, issuer, clock) as first:
        tag = (await first.caller("ann").put("/userData/a", b"1")).headers["ETag"]
    async with run_resource_service(tmp_path, issuer, clock) as second:
        assert (await second.caller("ann").get("/userData/a")).headers["ETag"] == tag


# Whose.


async def test_nobody_sees_anothers_items(service: RunningResourceService) -> None:
    """Another caller's item does not exist for you: 404, and no condition or listing shows it."""
    ann, bob = service.caller("ann"), service.caller("bob")
    tag = (await ann.put("/userData/secret", b'"of ann"')).headers["ETag"]
    for response in (
        await bob.get("/userData/secret"),
        await bob.get("/userData/secret", If_None_Match=tag),
        await bob.get("/userData/secret", If_Match=tag),
        await bob.delete("/userData/secret"),
        await bob.delete("/userData/secret", If_Match=tag),
    ):
        await assert_refused(response, 404, "not_found")
    await assert_refused(await bob.put("/userData/secret", b"1", If_Match=tag), 412, "precondition_failed")
    assert await listing(await bob.get()) == {}
    assert (await bob.put("/userData/secret", b'"of bob"', If_None_Match="*")).status == 201
    assert await (await ann.get("/userData/secret")).read() == b'"of ann"'


async def test_the_same_subject_of_another_issuer_is_somebody_else(
    tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock
) -> None:
    """Users are known by issuer and subject together (RFC 9068 section 5)."""
    async with LocalIssuer(clock).running() as second:
        trusted = json.dumps([{"issuer": second.url}])
        async with run_resource_service(tmp_path, issuer, clock, TRUSTED_ISSUERS=trusted) as service:
            await service.caller("ann").put("/userData/a", b"1")
            assert await listing(await service.caller("ann", issuer=second.url).get()) == {}


async def test_reading_needs_the_read_scope_and_writing_the_write_scope(service: RunningResourceService) -> None:
    """Each operation names the scope it needs in its refusal (RFC 6750 section 3.1)."""
    reader, writer = service.caller("ann", "data:read"), service.caller("ann", "data:write")
    assert (await writer.put("/userData/a", b"1")).status == 201
    for response, scope in (
        (await writer.get(), "data:read"),
        (await writer.get("/userData/a"), "data:read"),
        (await writer.request("HEAD", "/userData/a"), "data:read"),
        (await reader.put("/userData/a", b"2"), "data:write"),
        (await reader.delete("/userData/a"), "data:write"),
    ):
        assert response.status == 403
        assert f'scope="{scope}"' in response.headers["WWW-Authenticate"]
    assert await listing(await reader.get()) == {"a": 1}


async def test_nothing_is_told_without_a_token(service: RunningResourceService) -> None:
    """Without credentials every operation is 401 with a challenge, whether the item exists or not."""
    await service.caller("ann").put("/userData/a", b"1")
    for method, path in (
        ("GET", "/userData"),
        ("GET", "/userData/a"),
        ("GET", "/userData/none"),
        ("GET", "/userData/a%00"),
        ("PUT", "/userData/a"),
        ("DELETE", "/userData/a"),
        ("HEAD", "/userData/a"),
    ):
        response = await service.request(method, path)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")


# Names.


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/userData/a.b-c_d~e", "a.b-c_d~e"),
        ("/userData/%41%62", "Ab"),
        ("/userData/%7E", "~"),
        ("/userData/" + "x" * 128, "x" * 128),
        ("/userData/...", "..."),
        ("/userData/a?b=/c", "a"),
    ],
)
async def test_names_in_every_spelling_of_a_url(service: RunningResourceService, path: str, name: str) -> None:
    """Percent-encoded unreserved characters are the characters themselves (RFC 3986 section 6.2.2.2)."""
    ann = service.caller("ann")
    created = await ann.request("PUT", path, json=1)
    assert (created.status, created.headers["Location"]) == (201, f"/userData/{name}")
    assert await listing(await ann.get()) == {name: 1}
    assert (await ann.get(created.headers["Location"])).status == 200


@pytest.mark.parametrize(
    "segment",
    [
        "a%2Fb",
        "%2F",
        "a%252Fb",
        "%00",
        "a%00",
        "a%0A",
        "%0d%0aX: y",
        "a%20b",
        "a+b",
        "a%2Bb",
        "%2e",
        "%2E%2e",
        "%C3%A4",
        "%ff",
        "%zz",
        "%",
        "a%",
        "{a}",
        "%7Ba%7D",
        "a;b",
        "a:b",
        "a%5Cb",
        "x" * 129,
        "x" * 4000,
        "%41" * 129,
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_names_that_cannot_be(service: RunningResourceService, method: str, segment: str) -> None:
    """A name outside the rule is 400 and says the rule; nothing is stored, nothing else is reached."""
    ann = service.caller("ann")
    segment = segment.replace(" ", "%20")
    response = await ann.request(method, f"/userData/{segment}", json=1)
    await assert_refused(response, 400, "invalid_request")
    assert "128 letters" in (await response.json())["error_description"]
    assert await listing(await ann.get()) == {}


@pytest.mark.parametrize("segment", [".", ".."])
async def test_dot_segments_are_no_names(service: RunningResourceService, segment: str) -> None:
    """A client takes them out of a path; where one does not, they are 400 and lead nowhere."""
    token = service.caller("ann").token
    head = f"GET /userData/{segment} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    reply = await exchange(service.port, head.encode())
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "path", ["/userData/", "/userData//", "/userData/a/b", "/userdata/a", "/USERDATA", "/userData/a/"]
)
async def test_paths_beside_an_item_are_nothing(service: RunningResourceService, path: str) -> None:
    """An item has exactly one address."""
    response = await service.caller("ann").request("GET", path)
    assert response.status == 404


# What is sent.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[1,]",
        b'{"a":1,"a":2}',
        b"\xef\xbb\xbf1",
        "1".encode("utf-16"),
        b'"\\ud800"',
        b"1e999",
        b"1 2",
        b"[" * 33 + b"]" * 33,
        b'"' + b"\xff" + b'"',
        b"9" * 5000,
    ],
)
async def test_what_is_not_strict_json_is_not_stored(service: RunningResourceService, body: bytes) -> None:
    """Hostile cases, HTTP layer: two readers must not read one value differently (RFC 7493)."""
    ann = service.caller("ann")
    await assert_refused(await ann.put("/userData/a", body), 400, "invalid_request")
    assert await listing(await ann.get()) == {}


async def test_a_value_has_64_kib(service: RunningResourceService) -> None:
    """65,536 bytes are stored, one more is 413."""
    ann = service.caller("ann")
    largest = b'"' + b"x" * 65_534 + b'"'
    assert (await ann.put("/userData/a", largest)).status == 201
    await assert_refused(await ann.put("/userData/a", largest + b" "), 413, "content_too_large")
    assert await (await ann.get("/userData/a")).read() == largest


async def test_other_media_types_and_parts_are_refused(service: RunningResourceService) -> None:
    """415 for what is not JSON; 400 for a part that would be taken for the whole (RFC 9110 section 14.5)."""
    ann = service.caller("ann")
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json"):
        response = await ann.put("/userData/a", b"1", Content_Type=content_type)
        await assert_refused(response, 415, "unsupported_media_type")
    response = await ann.put("/userData/a", b"1", Content_Range="bytes 0-0/10")
    await assert_refused(response, 400, "invalid_request")


@pytest.mark.parametrize(("method", "path"), [("POST", "/userData"), ("PATCH", "/userData/a"), ("DELETE", "/userData")])
async def test_other_methods_are_not_allowed(service: RunningResourceService, method: str, path: str) -> None:
    """405 says what is."""
    response = await service.caller("ann").request(method, path)
    await assert_refused(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


# Conditions.


async def test_a_tag_is_strong_and_changes_with_every_write(service: RunningResourceService) -> None:
    """Writing the same value again is a write too."""
    ann = service.caller("ann")
    tags = [(await ann.put("/userData/a", b"1")).headers["ETag"] for _ in range(3)]
    assert len(set(tags)) == 3
    assert all(re.fullmatch(r'"[A-Za-z0-9_-]{22}"', tag) for tag in tags)


async def test_reading_what_one_has_costs_no_body(service: RunningResourceService) -> None:
    """If-None-Match on GET: 304 with the tag and without a body, by weak comparison (RFC 9110 section 13.1.2)."""
    ann = service.caller("ann")
    tag = (await ann.put("/userData/a", b"1")).headers["ETag"]
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = await ann.get("/userData/a", If_None_Match=condition)
        assert (response.status, response.headers["ETag"], await response.read()) == (304, tag, b"")
    assert (await ann.request("HEAD", "/userData/a", headers={"If-None-Match": tag})).status == 304
    assert (await ann.get("/userData/a", If_None_Match='"x"')).status == 200
    await assert_refused(await ann.get("/userData/none", If_None_Match="*"), 404, "not_found")


async def test_reading_on_a_condition(service: RunningResourceService) -> None:
    """If-Match on GET is 412 when the item is another by now."""
    ann = service.caller("ann")
    tag = (await ann.put("/userData/a", b"1")).headers["ETag"]
    assert (await ann.get("/userData/a", If_Match=tag)).status == 200
    await assert_refused(await ann.get("/userData/a", If_Match=f"W/{tag}"), 412, "precondition_failed")
    await assert_refused(await ann.get("/userData/a", If_Match='"x"', If_None_Match=tag), 412, "precondition_failed")


async def test_writing_on_a_condition(service: RunningResourceService) -> None:
    """If-Match lets a change through only on what was seen, If-None-Match: * only where nothing is."""
    ann = service.caller("ann")
    for condition in ("*", '"x"'):
        await assert_refused(await ann.put("/userData/a", b"1", If_Match=condition), 412, "precondition_failed")
    first = (await ann.put("/userData/a", b"1", If_None_Match="*")).headers["ETag"]
    await assert_refused(await ann.put("/userData/a", b"2", If_None_Match="*"), 412, "precondition_failed")
    await assert_refused(await ann.put("/userData/a", b"2", If_None_Match=f"W/{first}"), 412, "precondition_failed")
    await assert_refused(await ann.put("/userData/a", b"2", If_Match=f"W/{first}"), 412, "precondition_failed")
    second = (await ann.put("/userData/a", b"2", If_Match=f'"x", {first}')).headers["ETag"]
    await assert_refused(await ann.put("/userData/a", b"3", If_Match=first), 412, "precondition_failed")
    await assert_refused(await ann.delete("/userData/a", If_Match=first), 412, "precondition_failed")
    assert await (await ann.get("/userData/a")).read() == b"2"
    assert (await ann.delete("/userData/a", If_Match=second)).status == 204


async def test_a_malformed_condition_is_refused(service: RunningResourceService) -> None:
    """A condition that cannot be read is 400 and nothing is written."""
    ann = service.caller("ann")
    for condition in ("abc", '"a', '*, "a"', ""):
        await assert_refused(await ann.put("/userData/a", b"1", If_Match=condition), 400, "invalid_request")
    assert await listing(await ann.get()) == {}


async def test_of_many_writers_who_saw_the_same_one_wins(service: RunningResourceService) -> None:
    """No lost update: the others are told with 412 (RFC 9110 section 13.1.1)."""
    ann = service.caller("ann")
    tag = (await ann.put("/userData/a", b"0")).headers["ETag"]
    answers = await asyncio.gather(*(ann.put("/userData/a", b"%d" % n, If_Match=tag) for n in range(1, 21)))
    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [204] + [412] * 19
    assert await (await ann.get("/userData/a")).read() == b"%d" % (statuses.index(204) + 1)


# Limits.


@pytest.fixture
async def small(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> AsyncIterator[RunningResourceService]:
    """A service where three items or 2,000 bytes are enough for anybody."""
    async with run_resource_service(tmp_path, issuer, clock, MAX_ITEMS="3", MAX_BYTES="2000") as service:
        yield service


async def test_the_number_of_items_has_a_limit(small: RunningResourceService) -> None:
    """409 quota_exceeded once the places are taken, also for many at once; others are not touched by it."""
    ann = small.caller("ann")
    answers = await asyncio.gather(*(ann.put(f"/userData/n{n}", b"1") for n in range(10)))
    refused = [answer for answer in answers if answer.status != 201]
    assert len(refused) == 7
    for answer in refused:
        await assert_refused(answer, 409, "quota_exceeded")
    assert (await small.caller("bob").put("/userData/a", b"1")).status == 201
    name = next(iter((await (await ann.get()).json())["data"]))
    assert (await ann.put(f"/userData/{name}", b"2")).status == 204
    await ann.delete(f"/userData/{name}")
    assert (await ann.put("/userData/new", b"1")).status == 201


async def test_the_bytes_together_have_a_limit(small: RunningResourceService) -> None:
    """409 quota_exceeded when values and names together would be too many bytes."""
    ann = small.caller("ann")
    assert (await ann.put("/userData/a", b"1" * 1_500)).status == 400  # no number is as long
    assert (await ann.put("/userData/a", b'"' + b"1" * 1_500 + b'"')).status == 201
    await assert_refused(await ann.put("/userData/b", b'"' + b"1" * 500 + b'"'), 409, "quota_exceeded")
    assert (await ann.put("/userData/a", b"1")).status == 204
    assert (await ann.put("/userData/b", b'"' + b"1" * 500 + b'"')).status == 201


# Large listings.


async def test_a_large_listing_is_sent_piece_by_piece(
    service: RunningResourceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one piece is one JSON document all the same, with the headers of every answer."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1_000)
    ann = service.caller("ann")
    expected = {}
    for number in range(25):
        expected[f"n{number:02}"] = "x" * 90
        await ann.put(f"/userData/n{number:02}", json.dumps("x" * 90).encode())
    response = await ann.get()
    assert await listing(response) == expected
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.headers["Cache-Control"] == "private, no-store"
    assert {"X-Request-ID", "X-Content-Type-Options", "Content-Security-Policy"} <= response.headers.keys()
    head = await ann.request("HEAD", "/userData")
    assert (head.status, await head.read()) == (200, b"")


async def test_a_listing_that_ends_with_a_piece_is_well_formed(
    service: RunningResourceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A last piece that is empty leaves no comma behind."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1)
    ann = service.caller("ann")
    for name in "abc":
        await ann.put(f"/userData/{name}", b"1")
    assert await listing(await ann.get()) == {"a": 1, "b": 1, "c": 1}


async def test_nobody_takes_the_places_for_long_listings_from_others(
    service: RunningResourceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of one user may be under way at a time, however slowly they are taken; the third comes back later."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1)
    ann, bob = service.caller("ann"), service.caller("bob")
    for caller in (ann, bob):
        for name in "abc":
            await caller.put(f"/userData/{name}", b"1")
    goes_on, held = asyncio.Event(), 0

    async def slowly(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
        nonlocal held
        if not goes_on.is_set() and request[ACCESS_TOKEN].subject == "ann":
            held += 1
            await goes_on.wait()
        await write_piece(request, response, piece)

    monkeypatch.setattr(endpoints, "write_piece", slowly)
    listings = [asyncio.create_task(ann.get()) for _ in range(endpoints.MAX_STREAMS_OF_ONE)]
    async with asyncio.timeout(10):
        while held < len(listings):  # noqa: ASYNC110 - counted where the service sends
            await asyncio.sleep(0.01)
    await assert_refused(await ann.get(), 503, "temporarily_unavailable")
    assert await listing(await bob.get()) == {"a": 1, "b": 1, "c": 1}
    goes_on.set()
    for answer in await asyncio.gather(*listings):
        assert await listing(answer) == {"a": 1, "b": 1, "c": 1}
    assert await listing(await ann.get()) == {"a": 1, "b": 1, "c": 1}


async def test_a_long_listing_ends_an_old_client_s_connection(
    service: RunningResourceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP/1.0 knows no chunks: only the end of the connection tells where the answer ends."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1)
    ann = service.caller("ann")
    for name in "abc":
        await ann.put(f"/userData/{name}", b"1")
    lines = ("GET /userData HTTP/1.0", "Connection: keep-alive", f"Authorization: Bearer {ann.token}", "", "")
    request = "\r\n".join(lines).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request * 2)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.endswith(b'\r\n\r\n{"status":"Success","data":{"a":1,"b":1,"c":1}}')
    assert answer.count(b"HTTP/1.0 200") == 1


async def test_a_listing_that_breaks_off_cannot_be_taken_for_whole(
    service: RunningResourceService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When storage fails between two pieces the client sees a broken connection, not a shorter listing."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1)
    ann = service.caller("ann")
    for name in "abc":
        await ann.put(f"/userData/{name}", b"1")
    read = shared.database.Database.read
    reads = 0

    async def fail_at_the_third(self: shared.database.Database, work: object) -> object:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise shared.transactions.DatabaseUnavailable("The database is not available.")
        return await read(self, work)  # type: ignore[arg-type]

    monkeypatch.setattr(shared.database.Database, "read", fail_at_the_third)
    response = await ann.get()
    with pytest.raises(ClientError):
        await response.read()


# When storage fails.


async def test_a_locked_database_is_503_and_recovers(
    tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile cases, Storage: 503 with Retry-After while it lasts, reading goes on, and no restart afterwards."""
    monkeypatch.setattr(shared.sqlite_engine, "BUSY_SECONDS", 0.1)
    async with run_resource_service(tmp_path, issuer, clock) as service:
        ann = service.caller("ann")
        await ann.put("/userData/a", b"1")
        other = sqlite3.connect(tmp_path / "resource.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = await ann.put("/userData/a", b"2")
        await assert_refused(refused, 503, "temporarily_unavailable")
        assert refused.headers["Retry-After"] == "5"
        assert await listing(await ann.get()) == {"a": 1}
        other.close()
        assert (await ann.put("/userData/a", b"2")).status == 204
