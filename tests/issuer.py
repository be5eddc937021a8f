"""An issuer of the tests' own: metadata and a key set over HTTP, and tokens for anybody."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.access_token import AccessToken, encode
from shared.clock import Clock
from shared.scope import Scope
from tests.protocol.minting import TestKey, signing_key

LIFETIME_SECONDS = 300


class LocalIssuer:
    """A standard issuer (RFC 8414, RFC 7517) on a loopback port.

    `keys` is what it publishes, the first one signs; with `published` false it answers 503 instead.
    """

    def __init__(self, clock: Clock) -> None:
        self.url = ""
        self.keys: list[TestKey] = [signing_key()]
        self.published = True
        self.fetches = 0
        self._clock = clock
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LocalIssuer]:
        """Serve until the block ends."""
        app = web.Application()
        app.router.add_get("/.well-known/oauth-authorization-server", self._metadata)
        app.router.add_get("/keys", self._keys)
        async with TestServer(app) as server:
            self.url = f"http://127.0.0.1:{server.port}"
            yield self

    def token(self, subject: str, *, audience: str, scope: str = "data:read data:write", **changes: Any) -> str:
        """A good access token for `subject`, with `changes` to its claims."""
        now = int(self._clock.now())
        claims: dict[str, Any] = {
            "issuer": self.url,
            "subject": subject,
            "audience": audience,
            "client_id": "first-party",
            "issued_at": now,
            "expires_at": now + LIFETIME_SECONDS,
            "token_id": f"token-{next(self._numbers)}",
            "scope": Scope.parse(scope),
        }
        return encode(AccessToken(**{**claims, **changes}), self.keys[0])

    async def _metadata(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, _request: web.Request) -> web.Response:
        self.fetches += 1
        if not self.published:
            raise web.HTTPServiceUnavailable
        return web.json_response({"keys": [key.public_jwk.as_json_object() for key in self.keys]})
