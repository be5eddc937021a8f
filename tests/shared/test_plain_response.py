"""A response written in one step is, to the byte, what aiohttp itself writes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import plain_response
from shared.plain_response import is_plain
from shared.serving import ServiceRunner
from tests.wire import serve

DATE = "Thu, 26 Nov 2026 08:00:00 GMT"
"""Set by the handlers, so that two answers can be compared whatever second they were made in."""
MakeResponse = Callable[[], web.StreamResponse]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

names = st.sampled_from(["ETag", "Cache-Control", "X-Own", "Server", "Content-Type", "Connection", "Vary"])
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20).map(str.strip)
bodies = st.one_of(st.none(), st.binary(max_size=64), st.just(b"x" * 100_000))
statuses = st.sampled_from([200, 201, 204, 205, 304, 400, 401, 404, 500, 503])
requests = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
)


def _app(handler: Handler) -> web.Application:
    async def sign(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Signal"] = "seen"

    app = web.Application()
    app.router.add_route("*", "/", handler)
    app.on_response_prepare.append(sign)
    return app


async def _answer(port: int, request: bytes) -> bytes:
    """All that comes back until the server closes; on a connection that is kept, a second request asks for that."""
    kept = b"Connection: close" not in request and (b"HTTP/1.1" in request or b"keep-alive" in request)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request + (b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" if kept else b""))
        return await reader.read()
    finally:
        writer.close()


async def _both(handler: Handler, request: bytes) -> tuple[bytes, bytes]:
    """The answer that our server gives, and aiohttp's own."""
    async with serve(_app(handler)) as port:
        ours = await _answer(port, request)
    runner = web.AppRunner(_app(handler), access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        theirs = await _answer(runner.addresses[0][1], request)
    finally:
        await runner.cleanup()
    return ours, theirs


@settings(max_examples=60, deadline=None)
@given(
    request=requests,
    status=statuses,
    body=bodies,
    headers=st.dictionaries(names, values.filter(bool), max_size=4),
    close=st.booleans(),
)
def test_any_plain_response_is_the_one_that_aiohttp_writes(
    request: bytes, status: int, body: bytes | None, headers: dict[str, str], close: bool
) -> None:
    headers = {"Date": DATE, "Server": "signet"} | headers
    plain: list[bool] = []

    async def handler(_request: web.Request) -> web.Response:
        response = web.Response(status=status, body=body, headers=headers)
        if close:
            response.force_close()
        plain.append(is_plain(response))
        return response

    ours, theirs = asyncio.run(_both(handler, request))
    # What follows on a kept connection is a 404 of each server's own.
    assert ours.partition(b"HTTP/1.1 404")[0] == theirs.partition(b"HTTP/1.1 404")[0]
    assert ours
    assert plain
    assert all(plain)


def _compressed() -> web.Response:
    response = web.Response(body=b"x" * 5_000)
    response.enable_compression(web.ContentCoding.gzip)
    return response


def _with_a_cookie() -> web.Response:
    response = web.Response(body=b"x")
    response.set_cookie("a", "b")
    return response


def _chunked() -> web.Response:
    response = web.Response(body=b"x")
    response.enable_chunked_encoding()
    return response


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_compressed, id="compressed"),
        pytest.param(_with_a_cookie, id="with a cookie"),
        pytest.param(_chunked, id="chunked"),
        pytest.param(lambda: web.StreamResponse(headers={"Content-Length": "0"}), id="a stream"),
        pytest.param(lambda: web.Response(body=io.BytesIO(b"ab")), id="a payload"),
        pytest.param(lambda: web.Response(headers={"Content-Length": "0"}), id="its own length"),
    ],
)
async def test_what_is_not_plain_is_left_to_aiohttp(make: Any) -> None:
    async def handler(_request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = make()
        response.headers.update({"Date": DATE, "Server": "signet"})
        return response

    response = make()
    assert not is_plain(response)
    ours, theirs = await _both(handler, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert ours.startswith(b"HTTP/1.1 200")
    assert ours == theirs


async def test_a_field_value_with_a_line_break_is_never_sent() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"X-Own": "a\r\nSet-Cookie: b=c"})

    async with serve(_app(handler)) as port:
        answer = await _answer(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"Set-Cookie" not in answer


async def test_a_client_that_does_not_read_holds_the_next_answer_back() -> None:
    answered = 0

    async def handler(_request: web.Request) -> web.Response:
        nonlocal answered
        answered += 1
        return web.Response(body=b"x" * 1_000_000)

    runner = ServiceRunner(_app(handler))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1], limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 30)
        await asyncio.sleep(0.3)
        held_back = answered
        received = 0
        while received < 30_000_000:
            received += len(await reader.read(1 << 20))
        writer.close()
    finally:
        await runner.cleanup()
    assert held_back < 30
    assert answered == 30


async def test_all_that_do_not_read_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would make it more is cut off at once; who reads is served all the while, and places come back."""
    monkeypatch.setattr(plain_response, "MAX_UNTAKEN_BYTES", 3_000_000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (10_000 if "Connection" in request.headers else 1_000_000))

    async def open_idle(port: int) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        return writer

    async with serve(_app(handler)) as port:
        for _ in range(2):
            idle = [await open_idle(port) for _ in range(12)]
            await asyncio.sleep(1)
            assert 0 < plain_response._untaken._bytes <= 3_000_000
            answer = await _answer(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert answer.endswith(b"x" * 10_000)
            for writer in idle:
                writer.transport.abort()
            async with asyncio.timeout(5):
                while plain_response._untaken._bytes:  # noqa: ASYNC110 - the server's own count
                    await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_is_cut_off_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it is held in memory, so it has DRAIN_SECONDS for one response."""
    monkeypatch.setattr(plain_response, "DRAIN_SECONDS", 0.2)

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2_000_000)

    async with serve(_app(handler)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        await asyncio.sleep(1)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(20_000_000), 10)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
