"""The HTTP ground of both services, over the wire: one form of refusal, bounded bodies, strict JSON, health."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import resource
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress

import pytest
import structlog
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs
from prometheus_client import CollectorRegistry

import shared.web
from shared.errors import Conflict, ServiceError, TooManyRequests, Unavailable
from shared.metrics import RequestFigures
from shared.strict_json import MAX_JSON_DEPTH
from shared.web import Health, begin_answer, create_app, json_response, read_json_object, read_model
from tests.wire import Reply, exchange, read_reply, serve

CANARY = "canary314"


class Body(Struct, frozen=True):
    """A body with two members."""

    name: str
    count: int = 0


class Challenged(ServiceError):
    """A refusal with two challenges."""

    status = 401
    code = "invalid_token"


class Sample:
    """One handler for each way to answer."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/json", self.post_json),
            web.post("/model", self.post_model),
            web.get("/conflict", self.conflict),
            web.get("/busy", self.busy),
            web.get("/challenged", self.challenged),
            web.get("/broken", self.broken),
            web.get("/redirected", self.redirected),
            web.get("/torn", self.torn),
            web.get("/items/{name}", self.item),
        ]

    async def post_json(self, request: web.Request) -> web.Response:
        return json_response(await read_json_object(request))

    async def post_model(self, request: web.Request) -> web.Response:
        return json_response(structs.asdict(await read_model(request, Body)))

    async def conflict(self, _request: web.Request) -> web.Response:
        raise Conflict("It is taken.")

    async def busy(self, _request: web.Request) -> web.Response:
        raise TooManyRequests("Slower, please.", retry_after=7)

    async def challenged(self, _request: web.Request) -> web.Response:
        raise Challenged("No.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"', "X-Other": "1"})

    async def broken(self, _request: web.Request) -> web.Response:
        raise RuntimeError(f"{CANARY} went wrong")

    async def redirected(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async def torn(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await begin_answer(request, response)
        await response.write(b"half")
        raise Unavailable("The rest is gone.")

    async def item(self, request: web.Request) -> web.Response:
        return json_response({"name": request.match_info["name"]})


class Condition:
    """A condition that a test sets."""

    def __init__(self, name: str, *, holds: bool) -> None:
        self.name = name
        self.holds = holds

    async def report(self) -> tuple[bool, Mapping[str, object]]:
        return self.holds, {"age": 3}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The sample app, listening."""
    app = create_app([Sample()], figures=RequestFigures(CollectorRegistry()))
    async with serve(app) as port:
        yield port


async def get(port: int, path: str, *headers: str) -> Reply:
    lines = "".join(f"{header}\r\n" for header in headers)
    return await exchange(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())


async def post(port: int, body: bytes, *headers: str, path: str = "/json") -> Reply:
    fields = [*headers, f"Content-Length: {len(body)}"]
    if not any(header.lower().startswith("content-type") for header in headers):
        fields.append("Content-Type: application/json")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(fields) + "\r\n\r\n"
    return await exchange(port, head.encode("latin-1") + body)


def assert_refused(reply: Reply, status: int, code: str) -> None:
    """The one form of refusal, with everything that every answer carries."""
    assert (reply.status, reply.json().get("error")) == (status, code)
    assert set(reply.json()) == {"error", "error_description"}
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"
    assert_dressed(reply)


def assert_dressed(reply: Reply) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{8,64}", reply.headers["X-Request-ID"])
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers.getall("Server") == ["signet"]


# Refusals.


async def test_a_refusal_is_json_with_its_code(port: int) -> None:
    """What a handler refuses is rendered with the class's status and code."""
    reply = await get(port, "/conflict")
    assert_refused(reply, 409, "conflict")
    assert reply.json()["error_description"] == "It is taken."


async def test_a_refusal_carries_its_headers(port: int) -> None:
    """Retry-After and challenges travel with the refusal."""
    assert (await get(port, "/busy")).headers["Retry-After"] == "7"
    challenged = await get(port, "/challenged")
    assert challenged.headers.getall("WWW-Authenticate") == ['Bearer error="invalid_token"']
    assert challenged.headers["X-Other"] == "1"


async def test_unknown_addresses_and_methods_answer_in_the_same_form(port: int) -> None:
    """404 and 405 are JSON too, and 405 says what is allowed (RFC 9110 section 15.5.6)."""
    assert_refused(await get(port, "/nowhere"), 404, "not_found")
    reply = await exchange(port, b"DELETE /json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert_refused(reply, 405, "method_not_allowed")
    assert reply.headers["Allow"] == "POST"


async def test_an_unknown_method_is_refused(port: int) -> None:
    """A method that nobody registered is no crash."""
    reply = await exchange(port, b"BREW /json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status in (400, 405)
    assert_dressed(reply)


async def test_an_unforeseen_fault_tells_the_caller_nothing(port: int) -> None:
    """Hostile cases, HTTP layer, "never a stack trace": 500 in our form; the log has the cause and the request's id."""
    with structlog.testing.capture_logs() as logs:
        reply = await get(port, "/broken")
    assert_refused(reply, 500, "server_error")
    assert CANARY not in reply.body.decode()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["request_failed"]


async def test_a_redirect_is_dressed_like_any_answer(port: int) -> None:
    """A redirect that a handler raises keeps its target and gets the headers of every answer."""
    reply = await get(port, "/redirected")
    assert (reply.status, reply.headers["Location"]) == (302, "/elsewhere")
    assert_dressed(reply)


async def test_an_answer_that_broke_off_is_not_completed(port: int) -> None:
    """When a handler fails in the middle of a body, the connection ends: a reader must not take half for the whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with structlog.testing.capture_logs():
        writer.write(b"GET /torn HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            received = await reader.readuntil(b"half")
            with suppress(ConnectionError):  # ended rather than finished, which is the point
                received += await reader.read()
    writer.close()
    assert received.count(b"HTTP/1.1") == 1
    assert b"X-Request-ID" in received
    assert b"0\r\n\r\n" not in received


async def test_a_presented_request_id_is_kept_only_when_harmless(port: int) -> None:
    """An id from outside joins log lines of two services; anything but a plain id is replaced."""
    assert (await get(port, "/conflict", "X-Request-ID: abc-DEF_123")).headers["X-Request-ID"] == "abc-DEF_123"
    for bad in ("short", "x" * 65, "abc def 123", 'abc"}{"def', "äbcdefghi"):
        assert (await get(port, "/conflict", f"X-Request-ID: {bad}")).headers["X-Request-ID"] != bad


async def test_every_request_has_an_id_of_its_own(port: int) -> None:
    """Ids made here do not repeat."""
    replies = await asyncio.gather(*(get(port, "/conflict") for _ in range(20)))
    assert len({reply.headers["X-Request-ID"] for reply in replies}) == 20


async def test_an_expectation_nobody_knows_is_refused_in_our_form(port: int) -> None:
    """Expect is read before any handler; 417 is JSON all the same, on known and unknown addresses."""
    for path in (b"/conflict", b"/nowhere"):
        for expectation in (b"a-miracle", b"100-continue, a-miracle", b"\xff", b"\x80" * 8, "ß".encode()):
            reply = await exchange(port, b"GET %b HTTP/1.1\r\nHost: x\r\nExpect: %b\r\n\r\n" % (path, expectation))
            assert_refused(reply, 417, "expectation_failed")


async def test_continue_is_sent_to_who_waits_for_it(port: int) -> None:
    """A client that waits for 100 Continue gets it and then its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert (await read_reply(reader)).status == 100
        writer.write(b"{}")
        assert (await read_reply(reader)).status == 200
    writer.close()


# Bodies.


async def test_an_object_is_read(port: int) -> None:
    """UTF-8 JSON comes in and goes out."""
    reply = await post(port, '{"näme": [1, 2.5, null, true, "\\ud83d\\ude00"]}'.encode())
    assert (reply.status, reply.json()) == (200, {"näme": [1, 2.5, None, True, "😀"]})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"{}x",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": +1}',
        b'{"a": .5}',
        b'{"a": 0x1}',
        b'{"a": "\x00"}',
        b'{"a": "\n"}',
        b'{"a": "\\x41"}',
        b"// comment\n{}",
        '{"a": \uff11}'.encode(),
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "\\u0061": 2}}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 400 + b"}",
        b'{"a": -' + b"9" * 210 + b"e99}",
        b'{"a": 0.1e0310}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": ' + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH + b"}",
        b'{"a":' * (MAX_JSON_DEPTH + 1) + b"1" + b"}" * (MAX_JSON_DEPTH + 1),
        b"[" * 16_000,
        b'{"a":' * 3_000,
    ],
)
async def test_what_is_not_strict_json_is_refused(port: int, body: bytes) -> None:
    """Hostile cases, HTTP layer: duplicate members, UTF-16, BOM, NaN, depth, huge numbers, lone surrogates: 400."""
    reply = await post(port, body)
    assert_refused(reply, 400, "invalid_request")
    assert reply.json()["error_description"] == "The body is not valid JSON."


async def test_numbers_are_taken_up_to_a_doubles_range(port: int) -> None:
    """What a double holds is read, however it is spelt."""
    numbers = {b"9" * 308: 1e308, b"9" * 199 + b".5e99": 1e298, b"1e308": 1e308, b"1e-999": 0, b"-0E+000": 0}
    for text, at_least in numbers.items():
        reply = await post(port, b'{"a": ' + text + b"}")
        assert reply.status == 200
        assert reply.json()["a"] >= at_least * 0.99


async def test_nesting_is_taken_up_to_its_limit(port: int) -> None:
    """An object with 31 levels inside it is within the limit of 32."""
    inner = MAX_JSON_DEPTH - 1
    assert (await post(port, b'{"a": ' + b"[" * inner + b"1" + b"]" * inner + b"}")).status == 200


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
async def test_only_an_object_is_a_body(port: int, body: bytes) -> None:
    """JSON of another type is refused where members are expected."""
    assert_refused(await post(port, body), 400, "invalid_request")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "application/problem+json",
        "",
        "*/*",
    ],
)
async def test_another_media_type_is_refused(port: int, content_type: str) -> None:
    """A cross-site form cannot pose as JSON (415)."""
    assert_refused(await post(port, b"{}", f"Content-Type: {content_type}"), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_by_any_spelling_is_taken(port: int, content_type: str) -> None:
    """Media types are compared without case (RFC 9110 section 8.3.1)."""
    assert (await post(port, b"{}", f"Content-Type: {content_type}")).status == 200


async def test_a_body_at_the_limit_is_taken_and_one_beyond_it_is_not(port: int) -> None:
    """16 KiB of JSON and not a byte more: 413."""
    padding = b" " * (16_384 - 2)
    assert (await post(port, b"{}" + padding)).status == 200
    assert_refused(await post(port, b"{} " + padding), 413, "content_too_large")


async def test_a_body_is_refused_by_its_announced_length(port: int) -> None:
    """A length beyond the limit is refused before a byte of the body is read."""
    head = b"POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    assert_refused(await exchange(port, head), 413, "content_too_large")


CHUNKED = b"POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_chunked_body_is_counted_while_it_arrives(port: int) -> None:
    """Without an announced length the limit holds as well."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert (await exchange(port, CHUNKED, b"2\r\n{}\r\n0\r\n\r\n")).status == 200
    assert_refused(await exchange(port, CHUNKED, chunk * 8), 413, "content_too_large")


async def test_a_body_that_never_ends_costs_no_memory(port: int) -> None:
    """100 MB sent to a limit of 16 KiB are not kept anywhere."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert_refused(await exchange(port, CHUNKED, *[chunk] * 1600), 413, "content_too_large")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


async def test_sixty_thousand_one_byte_chunks_take_little_time(port: int) -> None:
    """Hostile cases, HTTP layer, CVE-2025-69229: the cost of a chunked body grows with its size, no faster."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    body = b"1\r\n{\r\n1\r\n}\r\n" + b"1\r\n \r\n" * 16_000 + b"0\r\n\r\n"
    assert (await exchange(port, CHUNKED, body)).status == 200
    assert_refused(await exchange(port, CHUNKED, b"1\r\n \r\n" * 60_000), 413, "content_too_large")
    assert loop.time() - started < 2


async def test_a_body_that_trickles_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body has ten seconds (here less) to arrive, whatever it drips; then 400 and the connection is closed."""
    monkeypatch.setattr(shared.web, "BODY_SECONDS", 0.2)
    with_length = CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 1000")
    for head, drop in ((CHUNKED, b"1\r\n \r\n"), (with_length, b" ")):
        reply = await exchange(port, head, *[drop] * 30, pause=0.02)
        assert_refused(reply, 400, "invalid_request")
        assert reply.closed


async def test_a_client_that_goes_away_in_the_middle_of_a_body_harms_nobody(port: int) -> None:
    """A torn body is not an error of ours, and the next request is served."""
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CHUNKED + b"5\r\n{")
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.05)
        assert (await post(port, b"{}")).status == 200
    assert [line for line in logs if line["log_level"] == "error"] == []


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0)),
        ("deflate", zlib.compress(b" " * 10_000_000)),
        ("br", b"{}"),
        ("identity, gzip", gzip.compress(b"{}", mtime=0)),
        ("GZIP", gzip.compress(b"{}", mtime=0)),
    ],
)
async def test_a_compressed_body_is_refused_unopened(port: int, encoding: str, body: bytes) -> None:
    """Hostile cases, HTTP layer, deflate bomb: nothing is decompressed, so nothing can grow (415)."""
    reply = await post(port, body, f"Content-Encoding: {encoding}")
    assert_refused(reply, 415, "unsupported_media_type")
    assert reply.headers["Accept-Encoding"] == "identity"


async def test_a_model_names_the_members_that_are_wrong(port: int) -> None:
    """400 names what is missing or malformed; a value that was sent is never in the answer."""
    assert (await post(port, b'{"name": "a", "count": 2}', path="/model")).json() == {"name": "a", "count": 2}
    for body, text in (
        ({"count": CANARY}, "Missing or malformed: count, name."),
        ({"name": "a", CANARY: CANARY}, "There are members that do not belong here."),
        ({"name": [CANARY], CANARY: 1}, "Missing or malformed: name."),
    ):
        reply = await post(port, json.dumps(body).encode(), path="/model")
        assert_refused(reply, 400, "invalid_request")
        assert reply.json()["error_description"] == text


@given(body=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_body_makes_the_server_fail(port: int, body: bytes) -> None:
    """Hostile cases, HTTP layer, "any malformed input": bytes at random are refused, never a 5xx."""
    assert (await post(port, body)).status in (200, 400)


# What is no request at all.

FINE = b"GET /items/a HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /items/a HTTP/1.1\r\n\r\n",
        FINE + b"Host: y\r\n\r\n",
        FINE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        FINE + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        FINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        FINE + b"Content-Length: 1, 1\r\n\r\na",
        FINE + b"Content-Length: +1\r\n\r\na",
        FINE + b"Content-Length: -1\r\n\r\n",
        FINE + b"Content-Length: 0x1\r\n\r\na",
        FINE + "Content-Length: \uff11\r\n\r\na".encode(),
        FINE + b"Transfer-Encoding: gzip, chunked, x\r\n\r\n",
        FINE + b"Transfer-Encoding: xchunked\r\n\r\n",
        FINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        FINE + b"X-Folded: a\r\n b\r\n\r\n",
        FINE + b" leading: space\r\n\r\n",
        FINE + b"Space : before colon\r\n\r\n",
        FINE + b"No colon at all\r\n\r\n",
        FINE + b"N\x00ul: a\r\n\r\n",
        FINE + b"Nul: a\x00b\r\n\r\n",
        FINE + b"Bare: a\rb\r\n\r\n",
        FINE + b"Long: " + b"a" * 20_000 + b"\r\n\r\n",
        FINE + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_not_well_formed_http_is_refused_in_our_form(port: int, sent: bytes) -> None:
    """Hostile cases, HTTP layer: two Hosts, CL with TE, folded lines, odd digits, endless heads: 400 and no more.

    CVE-2026-34525, CVE-2025-69224, CVE-2026-111750, CVE-2025-53643, CVE-2024-52304.
    """
    with structlog.testing.capture_logs() as logs:
        reply = await exchange(port, sent)
    assert_refused(reply, 400, "invalid_request")
    assert reply.closed
    assert [line for line in logs if line["log_level"] in ("error", "warning")] == []


@pytest.mark.parametrize(
    "chunks",
    [
        b"0x1\r\na\r\n0\r\n\r\n",
        b"-1\r\na\r\n0\r\n\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\na\r\n",
        b"\r\n\r\n",
        b"zz\r\n",
        b"1;x=\n\r\na\r\n0\r\n\r\n",
    ],
)
async def test_malformed_chunks_are_refused(port: int, chunks: bytes) -> None:
    """A chunked body that two readers could divide differently is 400, and the connection is not used again."""
    reply = await exchange(port, CHUNKED, chunks)
    assert reply.status == 400
    assert reply.closed
    assert_dressed(reply)


async def test_a_smuggled_second_request_is_not_answered(port: int) -> None:
    """After a request whose length is doubtful nothing more is read from the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = FINE + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + FINE + b"\r\n"
    writer.write(sent)
    async with asyncio.timeout(5):
        answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.") == 1
    assert b" 400 " in answers.splitlines()[0]


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/..",
        "/..//evil.example",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/items/a/../../livez",
        "/\\evil.example",
        "http://evil.example/items/a",
        "/items/a?x=%00",
        "/items/%ff%fe",
        "/items/%00",
        "/items/%zz",
        "/items/a#fragment",
        "/;/items/a",
        "*",
        "/items/" + "%2f" * 1000,
    ],
)
async def test_odd_targets_neither_redirect_nor_fail(port: int, target: str) -> None:
    """Hostile cases, HTTP layer, CVE-2021-21330: no target makes a redirect, a 5xx, or an answer without our form."""
    reply = await get(port, target)
    assert reply.status in (200, 400, 404)
    assert "Location" not in reply.headers
    assert_dressed(reply)


async def test_an_upgrade_is_not_taken_up(port: int) -> None:
    """Asking for another protocol changes nothing; the request is answered as HTTP/1.1."""
    for protocol in ("websocket", "h2c"):
        reply = await get(port, "/items/a", f"Upgrade: {protocol}", "Connection: Upgrade", "HTTP2-Settings: AAMAAABk")
        assert reply.status == 200


async def test_requests_in_one_breath_are_answered_in_order(port: int) -> None:
    """Pipelined requests each get their answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(b"GET /items/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(50)))
    async with asyncio.timeout(5):
        names = [(await read_reply(reader)).json()["name"] for _ in range(50)]
    writer.close()
    assert names == [str(number) for number in range(50)]


# Health.


async def test_the_process_is_alive_also_when_it_cannot_serve() -> None:
    """`/livez` says that the process answers, and nothing about what it depends on."""
    health = Health([Condition("database", holds=False)])
    async with serve(create_app([health], figures=RequestFigures(CollectorRegistry()))) as port:
        reply = await get(port, "/livez")
    assert (reply.status, reply.json(), reply.headers["Cache-Control"]) == (200, {"status": "alive"}, "no-store")


async def test_readiness_is_every_condition() -> None:
    """`/readyz` is 200 only when every condition holds, 503 with Retry-After otherwise, and shows each."""
    keys, database = Condition("keys", holds=True), Condition("database", holds=False)
    health = Health([keys, database])
    async with serve(create_app([health], figures=RequestFigures(CollectorRegistry()))) as port:
        not_ready = await get(port, "/readyz")
        database.holds = True
        ready = await get(port, "/readyz")
    assert (not_ready.status, not_ready.headers["Retry-After"]) == (503, "1")
    assert not_ready.json() == {
        "status": "not_ready",
        "checks": {"keys": {"ok": True, "age": 3}, "database": {"ok": False, "age": 3}},
    }
    assert (ready.status, ready.json()["status"]) == (200, "ready")
    assert "Retry-After" not in ready.headers
