"""The HTTP ground of both services: one middleware, one form of error, strict JSON in, health routes.

Endpoints are small frozen objects that hand over their `routes()`; `create_app` mounts them. What a request may
cost is bounded here: body size, time to arrive, nesting, decompression (none is done).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import structlog
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict, istr

from shared.errors import ContentTooLarge, InvalidRequest, ServiceError, UnsupportedMediaType
from shared.logging import PacedLines, request_id
from shared.openapi import Answer, Operation, describe
from shared.strict_json import strict_json_loads

if TYPE_CHECKING:  # the metrics listener is an app of this module's making
    from shared.metrics import RequestFigures

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY_BYTES = 65_536
"""The largest body any endpoint takes; each may take less."""
MAX_JSON_BYTES = 16_384
READINESS_PATH = "/readyz"
BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
PRESENTED_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

REQUEST_ID = istr("X-Request-ID")
CONTENT_SECURITY_POLICY = istr("Content-Security-Policy")
CLIENT_GONE = 499
"""The status counted for a request whose client left before the answer; nobody receives it."""

NO_STORE = {"Cache-Control": "no-store"}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "signet",
}
STATUS_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    417: "expectation_failed",
}
STATUS_TEXTS = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: "The body is too large.",
    417: "This expectation cannot be met.",
}


class Endpoint(Protocol):
    """What an app mounts: an object that knows its own routes."""

    def routes(self) -> Iterable[web.RouteDef]: ...


class Readiness(Protocol):
    """One condition of being able to serve; `report` is (whether it holds, a few figures to show)."""

    name: str

    async def report(self) -> tuple[bool, Mapping[str, object]]: ...


def create_app(
    endpoints: Iterable[Endpoint],
    *,
    figures: RequestFigures,
    middlewares: Sequence[Any] = (),
    access_log: bool = False,
) -> web.Application:
    """An application with our middleware around `middlewares`, serving `endpoints`."""
    app = web.Application(
        middlewares=[_answer_middleware(figures, access_log), *middlewares], client_max_size=MAX_BODY_BYTES
    )
    for endpoint in endpoints:
        app.add_routes(endpoint.routes())
    return app


def json_response(
    body: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.Response:
    """`body` as compact UTF-8 JSON."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(body=text.encode(), status=status, headers=headers, content_type=content_type)


def error_response(error: ServiceError) -> web.Response:
    """The one rendering of a refusal (RFC 6749 section 5.2); never to be stored by a cache."""
    response = json_response(
        {"error": error.code, "error_description": error.description}, status=error.status, headers=NO_STORE
    )
    headers = error.headers
    for name, value in headers.items():
        # `add` for challenges: more than one WWW-Authenticate field may stand in an answer.
        if name == "WWW-Authenticate":
            response.headers.add(name, value)
        else:
            response.headers[name] = value
    if headers.get("Connection") == "close":
        response.force_close()
    return response


_PROCESS = secrets.token_hex(6)
_COUNTER = itertools.count(1)


def new_request_id() -> str:
    """Random for the process and counted within it: unique, and much cheaper than a UUID for each request."""
    return f"{_PROCESS}{next(_COUNTER):08x}"


def _answer_middleware(figures: RequestFigures, access_log: bool) -> Any:
    """One layer for all that every answer needs: request id, errors as JSON, headers, figures."""
    failures = PacedLines()

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        presented = request.headers.get(REQUEST_ID)
        if presented is None or not PRESENTED_REQUEST_ID.fullmatch(presented):
            presented = new_request_id()
        request_id.set(presented)
        started = figures.start()
        try:
            response = await handler(request)
        except ServiceError as error:
            response = error_response(error)
        except web.HTTPException as error:
            response = http_error_response(error)
        except asyncio.CancelledError:
            figures.finish(request, CLIENT_GONE, started)
            raise
        except Exception as error:
            if _is_gone(request, error):
                figures.finish(request, CLIENT_GONE, started)
                raise
            log.exception("request_failed", method=request.method, route=figures.route_of(request))
            response = error_response(ServerError())
        if not response.prepared:
            if request.writer.output_size:
                figures.finish(request, response.status, started)
                raise _broken_off(request)
            _dress(response, presented)
        seconds = figures.finish(request, response.status, started)
        # Not being ready is an answer and no failure; what it waits for says so itself.
        if access_log or (response.status >= 500 and request.path != READINESS_PATH):
            route = figures.route_of(request)
            left_out = 0 if access_log else failures.left_out((route, response.status), started)
            if left_out is not None:
                log.info(
                    "request",
                    method=request.method,
                    route=route,
                    status=response.status,
                    milliseconds=round(seconds * 1000, 2),
                    remote=request.remote,
                    **({"left_out": left_out} if left_out else {}),
                )
        return response

    return answer


_SECURITY_HEADERS = CIMultiDict((istr(name), value) for name, value in SECURITY_HEADERS.items())
"""The same in the form that is copied fastest; it is done for every answer."""


def _dress(response: web.StreamResponse, presented: str) -> None:
    headers = response.headers
    own_policy = headers.get(CONTENT_SECURITY_POLICY)
    headers[REQUEST_ID] = presented
    headers.update(_SECURITY_HEADERS)
    if own_policy is not None:  # a page says what it needs
        headers[CONTENT_SECURITY_POLICY] = own_policy


async def begin_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Send the head of an answer whose body a handler writes piece by piece, with what every answer carries."""
    if request.version < HttpVersion11:
        # Without a length or chunks only the end of the connection tells where the answer ends (RFC 9112 section 6.3).
        response.force_close()
    _dress(response, request_id.get() or new_request_id())
    await response.prepare(request)


def _is_gone(request: web.Request, error: Exception) -> bool:
    """Whether `error` is only that the client left, and not a connection of our own that failed."""
    return isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing())


def _broken_off(request: web.Request) -> ConnectionError:
    """End the connection of an answer that began and then failed: half of it must not be taken for the whole."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionAbortedError("the answer broke off")


class ServerError(ServiceError):
    """A mistake of ours."""

    status = 500
    code = "server_error"

    def __init__(self) -> None:
        super().__init__("Something went wrong here; the log knows more under this request id.")


def http_error_response(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals (404, 405, 413, ...) in our form; a redirect keeps its headers and has no body."""
    if error.status < 400:
        headers = {name: value for name, value in error.headers.items() if not name.lower().startswith("content-")}
        return web.Response(status=error.status, headers=headers)
    body = {
        "error": STATUS_CODES.get(error.status, "invalid_request"),
        "error_description": STATUS_TEXTS.get(error.status, "The request cannot be answered as it stands."),
    }
    headers = dict(NO_STORE)
    if "Allow" in error.headers:
        headers["Allow"] = error.headers["Allow"]
    return json_response(body, status=error.status, headers=headers)


def names_etag(presented: str, etag: str) -> bool:
    """Whether an `If-None-Match` names `etag`, by weak comparison: `W/` does not matter (RFC 9110 section 13.1.2)."""
    tags = (tag.strip().removeprefix("W/") for tag in presented.split(","))
    return any(tag in ("*", etag.removeprefix("W/")) for tag in tags)


async def read_body(request: web.Request, *, max_bytes: int) -> bytes:
    """The body, whole; 413 when it is larger than `max_bytes`, 400 when it does not arrive in time.

    A compressed body is refused: nothing here needs one, and inflating is how a small body becomes a large one.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not accepted.", headers={"Accept-Encoding": "identity"})
    if request.content_length is not None and request.content_length > max_bytes:
        raise ContentTooLarge(f"The body may have at most {max_bytes} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    raise ContentTooLarge(f"The body may have at most {max_bytes} bytes.")
    except TimeoutError:
        raise InvalidRequest("The body took too long to arrive.", headers={"Connection": "close"}) from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidRequest("The body did not arrive whole.", headers={"Connection": "close"}) from error
    return bytes(body)


async def read_json(request: web.Request, *, max_bytes: int = MAX_JSON_BYTES) -> tuple[bytes, Any]:
    """The body as it came and the JSON value it spells; 415 for another media type, 400 for what is not strict JSON."""
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType("The body must be application/json.")
    body = await read_body(request, max_bytes=max_bytes)
    try:
        return body, strict_json_loads(body)
    except ValueError:
        raise InvalidRequest("The body is not valid JSON.") from None


async def read_json_object(request: web.Request, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, object]:
    """The body as a JSON object; 415 for another media type, 400 for what is not strict JSON."""
    _, value = await read_json(request, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


async def read_model(request: web.Request, model: type[M], *, max_bytes: int = MAX_JSON_BYTES) -> M:
    """The JSON body as `model`; 400 names the members that are missing, unknown or of a wrong type, no value."""
    members = await read_json_object(request, max_bytes=max_bytes)
    values: dict[str, object] = {}
    bad: list[str] = []
    for field in msgspec.structs.fields(model):
        if field.name in members:
            try:
                values[field.name] = msgspec.convert(members[field.name], field.type)
            except msgspec.ValidationError:
                bad.append(field.name)
        elif field.required:
            bad.append(field.name)
    if bad:
        raise InvalidRequest(f"Missing or malformed: {', '.join(sorted(bad))}.")
    if len(values) != len(members):
        raise InvalidRequest("There are members that do not belong here.")
    return model(**values)


_LIVENESS: Mapping[str, Any] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "alive"}},
}
_READINESS: Mapping[str, Any] = {
    "type": "object",
    "required": ["status", "checks"],
    "properties": {
        "status": {"enum": ["ready", "not_ready"]},
        "checks": {
            "type": "object",
            "description": "Each condition by name: whether it holds, and a few figures.",
            "additionalProperties": {
                "type": "object",
                "required": ["ok"],
                "properties": {"ok": {"type": "boolean"}},
            },
        },
    },
}


class Health:
    """`GET /livez`: the process answers. `GET /readyz`: it can serve, condition by condition."""

    def __init__(self, conditions: Sequence[Readiness]) -> None:
        self._conditions = conditions

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/livez", self.live), web.get(READINESS_PATH, self.ready)]

    @describe(Operation(summary="Whether the process answers.", answers={200: Answer("It does.", _LIVENESS)}))
    async def live(self, _request: web.Request) -> web.Response:
        return json_response({"status": "alive"}, headers=NO_STORE)

    @describe(
        Operation(
            summary="Whether the service can serve.",
            answers={
                200: Answer("It can.", _READINESS),
                503: Answer("It cannot at present.", _READINESS, headers={"Retry-After": "Seconds."}),
            },
        )
    )
    async def ready(self, _request: web.Request) -> web.Response:
        reports = [(condition.name, await condition.report()) for condition in self._conditions]
        ready = all(holds for _, (holds, _figures) in reports)
        body = {
            "status": "ready" if ready else "not_ready",
            "checks": {name: {"ok": holds, **figures} for name, (holds, figures) in reports},
        }
        headers = NO_STORE if ready else {**NO_STORE, "Retry-After": "1"}
        return json_response(body, status=200 if ready else 503, headers=headers)
