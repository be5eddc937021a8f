"""The way to a handler is, step for step, the one that aiohttp itself takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shared.dispatch import Dispatcher
from shared.serving import ServiceRunner

Trail = list[str]
APP = web.AppKey("app", web.Application)


class Greeter(web.View):
    """A handler that is a class."""

    async def get(self) -> web.Response:
        return web.Response(text=f"view {self.request.match_info['name']}")


def an_app(trail: Trail, *, mounted: bool = False, legacy: bool = False) -> web.Application:
    """Two middlewares and handlers of every form, each noting that it was reached and what it saw."""

    def noting(name: str) -> Any:
        @web.middleware
        async def note(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
            trail.append(f"{name} {request.method} {request.app is app} {request.match_info.route.name}")
            try:
                response: web.StreamResponse = await handler(request)
            except web.HTTPException as refusal:
                trail.append(f"{name} saw {refusal.status}")
                raise
            response.headers[f"X-{name}"] = "seen"
            return response

        return note

    async def greet(request: web.Request) -> web.Response:
        body = await request.text()
        return web.Response(text=f"{request.match_info.get('name')} {body} {request.config_dict[APP] is app}")

    async def fail(_request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="no")

    async def expect_nothing(_request: web.Request) -> web.Response:
        return web.Response(status=417, text="never")

    async def old_form(_app: web.Application, handler: Any) -> Any:
        return handler

    middlewares: list[Any] = [noting("Outer"), noting("Inner"), *([old_form] if legacy else [])]
    app = web.Application(middlewares=middlewares)
    app[APP] = app
    app.router.add_get("/", greet, name="root")
    app.router.add_put("/items/{name}", greet)
    app.router.add_view("/views/{name}", Greeter)
    app.router.add_get("/fail", fail)
    app.router.add_put("/refuses", greet, expect_handler=expect_nothing)
    if mounted:
        inner = web.Application(middlewares=[noting("Mounted")])
        inner.router.add_get("/greet", greet)
        app.add_subapp("/inner", inner)
    return app


async def _answer(runner: web.AppRunner, request: bytes) -> bytes:
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        # Each server's own: the date, and the form of a refusal that no middleware of ours has put into words.
        return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith((b"Date:", b"Server:")))
    finally:
        await runner.cleanup()


@pytest.mark.filterwarnings("ignore:old-style middleware:DeprecationWarning")
@pytest.mark.parametrize("form", ["plain", "mounted", "legacy"])
@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "HEAD / HTTP/1.1",
        "GET /nowhere HTTP/1.1",
        "DELETE / HTTP/1.1",
        "PUT /items/a%2Fb HTTP/1.1\r\nContent-Length: 2",
        "PUT /items/a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2",
        "PUT /items/a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2",
        "PUT /items/a HTTP/1.1\r\nExpect:\r\nContent-Length: 2",
        "PUT /refuses HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2",
        "GET /views/a HTTP/1.1",
        "POST /views/a HTTP/1.1\r\nContent-Length: 2",
        "GET /fail HTTP/1.1",
        "GET /inner/greet HTTP/1.1",
        "GET /inner/nowhere HTTP/1.1",
    ],
)
async def test_a_request_takes_the_way_that_aiohttp_takes(form: str, line: str) -> None:
    """The same layers in the same order, which see the same, and the same answer; twice, for the chain is kept."""
    body = b"ab" if "Content-Length" in line else b""
    request = f"{line}\r\nHost: a\r\n".encode()
    both = request + b"\r\n" + body + request + b"Connection: close\r\n\r\n" + body
    ours, theirs = Trail(), Trail()
    forms = {"mounted": form == "mounted", "legacy": form == "legacy"}
    answer = await _answer(ServiceRunner(an_app(ours, **forms)), both)
    expected = await _answer(web.AppRunner(an_app(theirs, **forms), access_log=None, auto_decompress=False), both)
    assert ours == theirs
    assert answer.count(b"HTTP/1.1 ") == expected.count(b"HTTP/1.1 ")
    if ours and "saw 4" not in " ".join(ours):  # a refusal that nobody put into words has our own form
        assert answer == expected


async def test_a_chain_is_kept_for_each_route_and_for_no_refusal() -> None:
    """404 and 405 bring a route of their own each time: kept, they would be a leak."""
    app = an_app(Trail())
    app.freeze()
    handler = Dispatcher(app)
    for _ in range(3):
        assert (await handler.handle(make_mocked_request("GET", "/"))).status == 200
        with pytest.raises(web.HTTPNotFound):
            await handler.handle(make_mocked_request("GET", "/nowhere"))
        with pytest.raises(web.HTTPMethodNotAllowed):
            await handler.handle(make_mocked_request("DELETE", "/"))
    assert len(handler.chains) == 1
