"""From a request to its handler, through the application's middlewares: the chain is built once for each route.

aiohttp looks a chain up for each request, by the handler and all applications it belongs to, and begins each with a
middleware of its own that keeps `request.app` right where applications are mounted in one another. None of ours is;
one with others in it, or with middlewares of aiohttp's old form, is served aiohttp's own way.
`tests/shared/test_dispatch.py` holds the two beside each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def dispatcher(app: web.Application) -> Handler:
    """What answers the requests of `app`, which is frozen: it takes no more routes or middlewares."""
    mounts = any(isinstance(resource, web.PrefixedSubAppResource) for resource in app.router.resources())
    if not mounts and not app._has_legacy_middlewares:
        return Dispatcher(app).handle

    async def handle(request: web.Request) -> web.StreamResponse:
        _expects_continue(request)
        return await app._handle(request)

    return handle


def _expects_continue(request: web.Request) -> bool:
    """Whether the client waits for a 100; HTTPExpectationFailed when it expects another thing."""
    expectation = request.headers.get(hdrs.EXPECT)
    if not expectation:
        return False
    if expectation.lower() != "100-continue":
        # aiohttp itself would repeat it in its answer, and fail over what no answer can hold.
        raise web.HTTPExpectationFailed
    return True


class Dispatcher:
    """Serves one application with no other in it."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._resolve = app.router.resolve
        self.chains: dict[web.AbstractRoute, Handler] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        match_info = await self._resolve(request)
        match_info.add_app(self._app)
        match_info.freeze()
        request._match_info = match_info
        if _expects_continue(request):
            refusal = await match_info.expect_handler(request)
            await request.writer.drain()
            if refusal is not None:
                return refusal
        route = match_info.route
        chain = self.chains.get(route)
        if chain is None:
            chain = self._chain(match_info.handler)
            if match_info.http_exception is None:  # the route of 404 and 405 is made anew for each request
                self.chains[route] = chain
        return await chain(request)

    def _chain(self, handler: Handler) -> Handler:
        for middleware in reversed(self._app.middlewares):
            handler = partial(middleware, handler=handler)
        return handler
