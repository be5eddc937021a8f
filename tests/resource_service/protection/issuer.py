"""An issuer on the wire that behaves as a test tells it to."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from tests.protocol.minting import TestKey, key_set_of, signing_key
from tests.wire import serve

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

JWK_SET = "application/jwk-set+json"


@dataclass
class Issuer:
    """What the server does, to be changed while it runs, and what it was asked."""

    port: int = 0
    keys: list[TestKey] = field(default_factory=lambda: [signing_key()])
    etag: str | None = None
    cache_control: str | None = None
    answer: Answer | None = None
    metadata_answers: dict[str, Answer] = field(default_factory=dict)
    key_requests: list[CIMultiDict[str]] = field(default_factory=list)
    other_requests: list[str] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.url}/keys"

    async def show_keys(self, request: web.Request) -> web.StreamResponse:
        self.key_requests.append(CIMultiDict(request.headers))
        await self.hold.wait()
        if self.answer is not None:
            return await self.answer(request)
        headers = {} if self.etag is None else {"ETag": self.etag}
        if self.cache_control is not None:
            headers["Cache-Control"] = self.cache_control
        if self.etag is not None and request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=key_set_of(*self.keys), content_type=JWK_SET, headers=headers)

    async def show_other(self, request: web.Request) -> web.StreamResponse:
        self.other_requests.append(request.path)
        answer = self.metadata_answers.get(request.path)
        if answer is None:
            raise web.HTTPNotFound
        return await answer(request)


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    """An issuer with one key, listening until the block ends."""
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/keys", issuer.show_keys)
    app.router.add_get("/{path:.*}", issuer.show_other)
    async with serve(app) as port:
        issuer.port = port
        try:
            yield issuer
        finally:
            issuer.hold.set()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Let the loop run until `condition` holds; fail when it does not in `seconds` of real time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is whatever the test looks at
            await asyncio.sleep(0.002)


def body_of(body: bytes, content_type: str = JWK_SET, *, status: int = 200, **headers: str) -> Answer:
    """An answer with this body."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, status=status, headers={"Content-Type": content_type, **fields})

    return answer


def json_of(value: object, content_type: str = "application/json") -> Answer:
    return body_of(json.dumps(value).encode(), content_type)


async def redirect(request: web.Request) -> web.StreamResponse:
    """To where good keys would lie."""
    return web.Response(status=302, headers={"Location": str(request.url.with_path("/elsewhere"))})


async def gzip_bomb(_request: web.Request) -> web.StreamResponse:
    """40 MB of blanks in 40 kB."""
    body = gzip.compress(b" " * 1_000_000) * 40  # members, one after the other: quick to make
    return web.Response(body=body, headers={"Content-Type": JWK_SET, "Content-Encoding": "gzip"})


async def endless(request: web.Request) -> web.StreamResponse:
    """50 MB in chunks, as far as somebody reads them."""
    response = web.StreamResponse(headers={"Content-Type": JWK_SET})
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(800):
            await response.write(b" " * 65_536)
    return response


async def byte_by_byte(request: web.Request) -> web.StreamResponse:
    """A good set, too slowly."""
    response = web.StreamResponse(headers={"Content-Type": JWK_SET})
    await response.prepare(request)
    with suppress(ConnectionError):
        for byte in key_set_of(signing_key()):
            await response.write(bytes([byte]))
            await asyncio.sleep(0.02)
    return response


async def hang(_request: web.Request) -> web.StreamResponse:
    """No answer at all."""
    await asyncio.sleep(0.8)
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    """The connection closes in the middle of the body."""
    body = key_set_of(signing_key())
    response = web.StreamResponse(headers={"Content-Type": JWK_SET, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[:100])
    transport = request.transport
    assert transport is not None
    transport.abort()
    return response


async def other_length(request: web.Request) -> web.StreamResponse:
    """More is announced than is allowed."""
    response = web.StreamResponse(headers={"Content-Type": JWK_SET, "Content-Length": "50000000"})
    await response.prepare(request)
    with suppress(ConnectionError):
        await response.write(b"{")
        await asyncio.sleep(0.8)
    return response
