"""A small application that is protected, and a client that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import ClientSession, web

from resource_service.protection import (
    ACCESS_TOKEN,
    ProtectedResource,
    Protection,
    RevocationCheck,
    TrustedIssuer,
    protect,
    public,
)
from resource_service.protection.bounded_fetch import FetchLimits
from shared.scope import Scope
from tests.clock import FrozenClock
from tests.protocol.minting import AUDIENCE, ISSUER
from tests.resource_service.protection.issuer import Issuer, until
from tests.wire import Reply, serve

LIMITS = FetchLimits(connect_seconds=0.5, total_seconds=0.5)


@dataclass
class Api:
    """A running protected application."""

    port: int
    protection: Protection
    http: ClientSession

    async def get(self, path: str = "/whoami", token: str | None = None, **headers: str) -> Reply:
        return await self.request("GET", path, token, **headers)

    async def request(self, method: str, path: str, token: str | None = None, **headers: str) -> Reply:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.http.request(method, url, headers=fields, allow_redirects=False) as answer:
            return Reply(answer.status, answer.headers, await answer.read(), closed=False)


async def whoami(request: web.Request) -> web.Response:
    """No mark: whatever the default asks."""
    token = request[ACCESS_TOKEN]
    return web.json_response({"sub": token.subject, "iss": token.issuer, "scope": str(token.scope)})


@protect("data:read")
async def read(request: web.Request) -> web.Response:
    return web.json_response({"sub": request[ACCESS_TOKEN].subject})


@protect("data:read", "data:write")
async def write(_request: web.Request) -> web.Response:
    return web.Response(status=204)


@protect(any_of=["data:read", "data:admin"])
async def either(_request: web.Request) -> web.Response:
    return web.Response(status=204)


@protect("data:read", acr=["2", "3"], max_age=300)
async def step_up(_request: web.Request) -> web.Response:
    return web.Response(status=204)


@public
async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


class Item(web.View):
    async def get(self) -> web.Response:
        return web.json_response({"sub": self.request[ACCESS_TOKEN].subject})


@protect("data:read")
class Marked(web.View):
    """A mark for all methods, and one of a method that comes before it."""

    async def get(self) -> web.Response:
        return web.Response(text="for who may read")

    @protect("data:write")
    async def put(self) -> web.Response:
        return web.Response(text="for who may write")

    @public
    async def options(self) -> web.Response:
        return web.Response(text="for anybody")


class Heir(Marked):
    """What its base asks for holds for it, too."""


@public
class Open(web.View):
    async def get(self) -> web.Response:
        return web.Response(text="for anybody")


class HeirOfOpen(Open):
    """Closed: nobody has said of it that it is public."""


async def unmarked(_request: web.Request) -> web.Response:
    return web.Response(text="open by its path")


def application() -> web.Application:
    """Routes of every kind."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/whoami", whoami),
            web.get("/read", read),
            web.put("/write", write),
            web.get("/either", either),
            web.get("/step-up", step_up),
            web.get("/hello", hello),
            web.view("/items/{name}", Item),
            web.view("/marked", Marked),
            web.view("/heir", Heir),
            web.view("/open", Open),
            web.view("/heir-of-open", HeirOfOpen),
            web.put("/partial", partial(write)),
            web.get("/livez", unmarked),
            web.get("/livez/more", unmarked),
        ]
    )
    inner = web.Application()
    inner.add_routes([web.get("/whoami", whoami), web.get("/livez", unmarked), web.get("/hello", hello)])
    app.add_subapp("/inner", inner)
    return app


def resource_of(issuer: Issuer, **changes: Any) -> ProtectedResource:
    trusted = TrustedIssuer(ISSUER, jwks_uri=issuer.jwks_uri)
    resource = ProtectedResource(
        AUDIENCE,
        (trusted,),
        realm="data",
        scopes=Scope("data:read", "data:write"),
        public_paths=frozenset({"/livez"}),
    )
    return replace(resource, **changes)


@asynccontextmanager
async def running_api(
    resource: ProtectedResource,
    clock: FrozenClock,
    *,
    revocation: RevocationCheck | None = None,
    wait_for_keys: bool = True,
    prepare: Callable[[web.Application], None] = lambda _app: None,
) -> AsyncIterator[Api]:
    """The application behind the real server, protected as `resource`."""
    app = application()
    prepare(app)
    protection = Protection(resource, clock=clock, revocation=revocation, fetch_limits=LIMITS)
    protection.setup(app)
    async with serve(app) as port, ClientSession() as http:
        if wait_for_keys:
            await until(lambda: protection.health().usable)
        yield Api(port, protection, http)
