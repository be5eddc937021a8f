"""Which web origins may call (Fetch standard, CORS protocol). Never with cookies: tokens travel in `Authorization`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import hdrs, web

H = TypeVar("H", bound=Callable[..., Any])

ANY_ORIGIN: Final = "*"
ALLOW_HEADERS: Final = "Authorization, DPoP, Content-Type, If-Match, If-None-Match"
EXPOSE_HEADERS: Final = "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, X-Request-ID"
PREFLIGHT_SECONDS: Final = "600"
"""How long a browser may remember a preflight's answer."""
OPEN_TO_ALL: Final = "__open_to_all_origins__"


def open_to_all_origins(handler: H) -> H:
    """Mark the handler of a public document, whose own answers say `Access-Control-Allow-Origin: *`."""
    setattr(handler, OPEN_TO_ALL, True)
    return handler


class CrossOrigin:
    """The answers to browsers. Without an allowed origin nothing is added, and every preflight is answered with no but
    those for public documents.

    `paths` are the route patterns that the origins may call; None for every one.
    """

    def __init__(self, allow_origins: frozenset[str], paths: frozenset[str] | None = None) -> None:
        self._origins = allow_origins
        self._paths = paths
        self._public_paths: frozenset[str] | None = None
        self.is_used = bool(allow_origins)

    def mount(self, app: web.Application) -> None:
        """Answer preflights in `app` with routes of their own, so that no other request has a layer more to go through.

        To be called when all other routes are there.
        """
        public = self._public(app)
        for resource in app.router.resources():
            called = self.is_used and (self._paths is None or resource.canonical in self._paths)
            if isinstance(resource, web.Resource) and (called or resource.canonical in public):
                resource.add_route(hdrs.METH_OPTIONS, self._options)
        if self.is_used:
            app.on_response_prepare.append(self.add_headers)

    def answer_preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a preflight of a resource that exists, whatever its credentials; None for another request."""
        if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return None
        refusal = request.match_info.http_exception
        if refusal is not None and not isinstance(refusal, web.HTTPMethodNotAllowed):
            return None
        is_public = request.path in self._public(request.app)
        headers = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: ANY_ORIGIN} if is_public else {}
        if is_public or self._allowed(request) is not None:
            headers |= {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(_methods(request, refusal))),
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOW_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_SECONDS,
            }
        return web.Response(status=204, headers=headers)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the calling origin read the answer, when it is allowed. An `on_response_prepare` signal."""
        if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in response.headers:
            return  # a public document that says so itself
        if self._paths is not None and _pattern(request) not in self._paths:
            return
        if ANY_ORIGIN not in self._origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = self._allowed(request)
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSE_HEADERS

    async def _options(self, request: web.Request) -> web.Response:
        allow = ",".join(sorted(_methods(request, None) | {hdrs.METH_OPTIONS}))
        return self.answer_preflight(request) or web.Response(status=204, headers={hdrs.ALLOW: allow})

    def _allowed(self, request: web.Request) -> str | None:
        """What to allow this request's origin as. `null` is no origin of anybody's."""
        origin = _only(request.headers, hdrs.ORIGIN)
        if origin is None or origin == "null":
            return None
        if ANY_ORIGIN in self._origins:
            return ANY_ORIGIN
        return origin if origin in self._origins else None

    def _public(self, app: web.Application) -> frozenset[str]:
        if self._public_paths is None:
            self._public_paths = frozenset(
                resource.canonical
                for resource in app.router.resources()
                if any(getattr(route.handler, OPEN_TO_ALL, False) for route in resource)
            )
        return self._public_paths


def _only(headers: Mapping[str, str], name: str) -> str | None:
    values = headers.getall(name, ())  # type: ignore[attr-defined]
    return values[0] if len(values) == 1 else None


def _pattern(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _methods(request: web.Request, refusal: web.HTTPMethodNotAllowed | None) -> set[str]:
    if refusal is not None:
        return set(refusal.allowed_methods)
    resource = request.match_info.route.resource
    return set() if resource is None else {route.method for route in resource} - {hdrs.METH_OPTIONS}
