"""A revocation feed of the tests' own, which says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.clock import Clock
from shared.revocation_feed import (
    MAX_ENTRIES,
    MEDIA_TYPE,
    Position,
    Revocation,
    RevocationDocument,
    RevocationGroup,
    RevokedKind,
    encode_document,
    group,
    identifier_hash,
)
from tests.protocol.minting import ISSUER, TestKey, signing_key
from tests.wire import serve

KEPT_SECONDS = 1_200


@dataclass
class Feed:
    """An honest feed, but for what `lie` makes of its documents and `broken` of its answers."""

    clock: Clock
    key: TestKey = field(default_factory=signing_key)
    issuer: str = ISSUER
    port: int = 0
    entries: list[Revocation] = field(default_factory=list)
    mark: str = "m"
    is_cut: bool = False
    lag: int = 0
    ahead_seconds: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    replay: bytes | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}/revocations"

    def revoke(self, kind: RevokedKind, identifier: str, *, before: int | None = None) -> None:
        """Put one more entry in and wake whoever waits."""
        expires_at = int(self.clock.now()) + KEPT_SECONDS
        self.entries.append(Revocation(kind, identifier_hash(identifier), before, expires_at))
        self.wake()

    def groups(self) -> Sequence[RevocationGroup]:
        return group(self.entries)

    def set_back(self, count: int, mark: str) -> None:
        """As after the restore of a backup: the last `count` entries were never made."""
        del self.entries[len(self.entries) - count :]
        self.mark = mark
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def shown(self) -> list[Revocation]:
        """What a replica that lags by `lag` entries has of them."""
        return self.entries[: len(self.entries) - self.lag]

    def document(self, after: int, **changes: Any) -> bytes:
        """What is behind `after`."""
        entries = self.shown[after : after + MAX_ENTRIES]
        reached = after + len(entries)
        members: dict[str, Any] = {
            "issuer": self.issuer,
            "issued_at": int(self.clock.now()) + self.ahead_seconds,
            "after": after,
            "reached": Position(reached, f"{self.mark}{reached}"),
            "head": len(self.shown),
            "groups": group(entries),
        }
        return encode_document(RevocationDocument(**{**members, **changes}), self.key)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(dict(request.query))
        after, mark = int(request.query["after"]), request.query.get("mark", "")
        if (
            mark == f"{self.mark}{after}"
            and after == len(self.shown)
            and "wait" in request.query
            and not self.is_cut
            and not self.replay
        ):
            try:
                async with asyncio.timeout(0.3):
                    await self.changed.wait()
            except TimeoutError:
                pass
        if self.is_cut:
            raise web.HTTPServiceUnavailable
        known = after <= len(self.shown) and mark == f"{self.mark}{after}"
        body = self.replay or self.document(after if known else 0)
        return web.Response(body=body, content_type=MEDIA_TYPE)


@asynccontextmanager
async def running_feed(clock: Clock) -> AsyncIterator[Feed]:
    """A feed that listens until the block ends."""
    feed = Feed(clock)
    app = web.Application()
    app.router.add_get("/revocations", feed.answer)
    async with serve(app) as port:
        feed.port = port
        yield feed
