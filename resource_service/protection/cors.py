"""Which web origins may call (Fetch standard, CORS protocol). Never with cookies: tokens travel in `Authorization`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

ANY_ORIGIN: Final = "*"
ALLOW_HEADERS: Final = "Authorization, DPoP, Content-Type, If-Match, If-None-Match"
EXPOSE_HEADERS: Final = "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, X-Request-ID"
PREFLIGHT_SECONDS: Final = "600"
"""How long a browser may remember a preflight's answer."""


class CrossOrigin:
    """The answers to browsers. Without an allowed origin nothing is added and every preflight is answered with no."""

    def __init__(self, allow_origins: frozenset[str]) -> None:
        self._origins = allow_origins
        self.is_used = bool(allow_origins)

    def answer_preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a preflight of a resource that exists, whatever its credentials; None for another request."""
        if request.method != hdrs.METH_OPTIONS or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return None
        refusal = request.match_info.http_exception
        if refusal is not None and not isinstance(refusal, web.HTTPMethodNotAllowed):
            return None
        headers = {}
        if self._allowed(request) is not None:
            headers = {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(_methods(request, refusal))),
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ALLOW_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: PREFLIGHT_SECONDS,
            }
        return web.Response(status=204, headers=headers)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the calling origin read the answer, when it is allowed. An `on_response_prepare` signal."""
        if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in response.headers:
            return  # a public document that says so itself
        if ANY_ORIGIN not in self._origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = self._allowed(request)
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSE_HEADERS

    def _allowed(self, request: web.Request) -> str | None:
        """What to allow this request's origin as. `null` is no origin of anybody's."""
        origin = _only(request.headers, hdrs.ORIGIN)
        if origin is None or origin == "null":
            return None
        if ANY_ORIGIN in self._origins:
            return ANY_ORIGIN
        return origin if origin in self._origins else None


def _only(headers: Mapping[str, str], name: str) -> str | None:
    values = headers.getall(name, ())  # type: ignore[attr-defined]
    return values[0] if len(values) == 1 else None


def _methods(request: web.Request, refusal: web.HTTPMethodNotAllowed | None) -> set[str]:
    if refusal is not None:
        return set(refusal.allowed_methods)
    resource = request.match_info.route.resource
    return set() if resource is None else {route.method for route in resource}
