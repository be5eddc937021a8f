"""Status lists of the tests' own, which say what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.clock import Clock
from shared.status_list import MEDIA_TYPE, StatusList, StatusListToken, encode_list_token
from tests.protocol.minting import TestKey, mint, signing_key
from tests.resource_service.protection.issuer import Answer
from tests.wire import serve

TTL_SECONDS = 60
LIFETIME_SECONDS = 300


@dataclass
class Lists:
    """Honest lists of 64 tokens with two bits each, but for what `changes` makes of them and `answer` of the wire."""

    clock: Clock
    key: TestKey = field(default_factory=signing_key)
    port: int = 0
    packed: bytearray = field(default_factory=lambda: bytearray(16))
    bits: int = 2
    changes: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None
    requests: list[str] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def prefix(self) -> str:
        return f"http://127.0.0.1:{self.port}/lists"

    def set(self, idx: int, status: int) -> None:
        """Give the token at `idx` a status."""
        byte, shift = divmod(idx * self.bits, 8)
        self.packed[byte] = self.packed[byte] & ~((2**self.bits - 1) << shift) | status << shift

    def status(self, idx: object, *, name: str = "1", **more: object) -> dict[str, object]:
        """The claim of a token at `idx`."""
        return {"status_list": {"idx": idx, "uri": f"{self.prefix}/{name}", **more}}

    def mint(self, idx: object = 0, **claims: Any) -> str:
        """A good token whose status stands at `idx`; each has a `jti` of its own."""
        now = int(self.clock.now())
        times = {"iat": now, "exp": now + 900}
        return mint(claims={"status": self.status(idx), "jti": f"{idx}", **times, **claims})

    def token(self, uri: str) -> bytes:
        now = int(self.clock.now())
        values = {
            "uri": uri,
            "issued_at": now,
            "expires_at": now + LIFETIME_SECONDS,
            "ttl": TTL_SECONDS,
            "statuses": StatusList(self.bits, bytes(self.packed)),
        }
        return encode_list_token(StatusListToken(**{**values, **self.changes}), self.key)

    async def show(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        await self.hold.wait()
        if self.answer is not None:
            return await self.answer(request)
        uri = f"http://127.0.0.1:{self.port}{request.path}"
        return web.Response(body=self.token(uri), content_type=MEDIA_TYPE)


@asynccontextmanager
async def running_lists(clock: Clock) -> AsyncIterator[Lists]:
    """Lists that listen until the block ends."""
    lists = Lists(clock)
    app = web.Application()
    app.router.add_get("/{path:.*}", lists.show)
    async with serve(app) as port:
        lists.port = port
        try:
            yield lists
        finally:
            lists.hold.set()
