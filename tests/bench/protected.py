"""Small servers whose one handler returns ready bytes to the bearer of a token: ours, and the tutorials'.

`python -m tests.bench.protected`, configured by PROTECTED_KIND (`protection`, `tutorial`, `bare`), PROTECTED_PORT,
PROTECTED_ISSUER and PROTECTED_KEYS. Several may share a port.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable

import jwt
import uvloop
from aiohttp import web

from resource_service.protection import ProtectedResource, Protection, TrustedIssuer, protect
from shared.memory import return_large_blocks
from shared.metrics import RequestFigures, create_registry
from shared.serving import BACKLOG, ServiceRunner
from shared.web import Health, create_app

AUDIENCE = "https://api.example"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY = b'{"status":"Success","data":{"greeting":"hello"}}'


class Greeting:
    """`GET /` for who may read."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/", self.get)]

    @protect("data:read")
    async def get(self, _request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="application/json")


def protection(issuer: str, keys: str) -> web.Application:
    """Our middlewares as the resource service composes them."""
    protected = Protection(
        ProtectedResource(AUDIENCE, (TrustedIssuer(issuer, jwks_uri=keys),), public_paths=frozenset({"/readyz"}))
    )
    registry = create_registry()
    registry.register(protected.figures)
    app = create_app(
        [Greeting(), Health([protected.readiness])],
        figures=RequestFigures(registry),
        middlewares=[protected.middleware],
    )
    protected.attach(app)
    return app


def tutorial(issuer: str, keys: str) -> web.Application:
    """aiohttp with PyJWKClient and jwt.decode in each request, as it is commonly shown."""
    client = jwt.PyJWKClient(keys)

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise web.HTTPUnauthorized
        try:
            key = client.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=issuer)
        except jwt.PyJWTError:
            raise web.HTTPUnauthorized from None
        if "data:read" not in claims.get("scope", "").split():
            raise web.HTTPForbidden
        request["claims"] = claims
        return await handler(request)

    async def greet(_request: web.Request) -> web.Response:
        return web.json_response({"status": "Success", "data": {"greeting": "hello"}})

    app = web.Application(middlewares=[authenticate])
    app.router.add_get("/", greet)
    return app


def bare(_issuer: str, _keys: str) -> web.Application:
    """One handler and nothing else."""

    async def greet(_request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", greet)
    return app


async def _serve(app: web.Application, *, ours: bool) -> None:
    runner = ServiceRunner(app) if ours else web.AppRunner(app, access_log=None)
    await runner.setup()
    port = int(os.environ["PROTECTED_PORT"])
    await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG, reuse_port=True).start()
    await asyncio.Event().wait()


def main() -> None:
    kind = os.environ["PROTECTED_KIND"]
    make = {"protection": protection, "tutorial": tutorial, "bare": bare}[kind]
    return_large_blocks()
    app = make(os.environ["PROTECTED_ISSUER"], os.environ["PROTECTED_KEYS"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, ours=kind == "protection"))


if __name__ == "__main__":
    main()
