"""Run one service in the foreground: listen, say so in one line, stop gracefully.

SIGTERM and SIGINT close the listening socket first, let requests in flight finish, then close the app.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from shared.dispatch import dispatcher
from shared.errors import InvalidRequest, Unavailable
from shared.logging import redact_text
from shared.memory import return_large_blocks
from shared.plain_response import is_plain, send_plain
from shared.web import SECURITY_HEADERS, ServerError, error_response, http_error_response, new_request_id

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10.0
"""How long requests in flight may take once a stop was asked for; containers wait 15 before they kill."""
KEEP_ALIVE_SECONDS = 75.0
HEAD_SECONDS = 10.0
"""How long a request head may take to arrive: the first one from the connection on, each later one from its first
byte. Who takes longer is cut off; between requests a connection may lie idle for KEEP_ALIVE_SECONDS."""
LINGER_SECONDS = 2.0
"""How long a body that nobody wants is still received after the answer, so that the client gets to read that."""
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """One app and where it listens."""

    app: web.Application
    host: str
    port: int


OpenService = Callable[[], contextlib.AbstractAsyncContextManager[Sequence[Listener]]]
"""Opens all that a service needs, hands over where it listens, and closes it all again."""


class PortInUse(Exception):
    """Another program has the address; the text names it."""


def run(open_service: OpenService, *, ready_line: str) -> int:
    """Serve what `open_service` opens until a signal comes; return the exit code. uvloop runs it where it is there.

    The service is closed after its listeners, so what is in flight still has all it needs.
    """
    if HttpRequestParser is HttpRequestParserPy:
        # The pure-Python parser has request-smuggling flaws of its own (CVE-2026-34525 and its kin).
        print("cannot start: aiohttp's C extension is missing, its fallback parser is not safe", file=sys.stderr)
        return 1
    return_large_blocks()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(open_service, ready_line))
    except PortInUse as error:
        return _cannot_start(str(error))
    except Unavailable as error:
        return _cannot_start(f"{error} {_first_line(error.__cause__)}")
    except OSError as error:
        # Opening a file or a folder that the service keeps its data in; while it serves, no OSError comes this far.
        return _cannot_start(f"{error.strerror}: {error.filename}")
    return 0


def _cannot_start(reason: str) -> int:
    print(f"cannot start: {redact_text(reason)}", file=sys.stderr)
    return 1


def _first_line(cause: BaseException | None) -> str:
    return "" if cause is None else str(cause).partition("\n")[0]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not there on every platform; asyncio's own loop serves as well, slower
        return None
    return uvloop.new_event_loop


async def _serve(open_service: OpenService, ready_line: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with open_service() as listeners, contextlib.AsyncExitStack() as stack:
        for listener in listeners:
            await stack.enter_async_context(_listening(listener))
        print(ready_line, flush=True)
        await stop.wait()
        log.info("stopping")


@contextlib.asynccontextmanager
async def _listening(listener: Listener) -> AsyncIterator[None]:
    runner = ServiceRunner(listener.app)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, listener.host, listener.port, backlog=BACKLOG).start()
        except OSError as error:
            where = f"{listener.host}:{listener.port}"
            raise PortInUse(f"cannot listen on {where} ({error.strerror or 'no such address'})") from error
        yield
    finally:
        await runner.cleanup()


class ServiceRunner(web.AppRunner):
    """An AppRunner whose connections speak our form of error also where no request could be read."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(
            app,
            access_log=None,
            shutdown_timeout=GRACE_SECONDS,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
        )

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # Whatever our server hears is made a web.Request by its request_factory.
        handler = cast(Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], dispatcher(self.app))
        return _Server(handler, request_factory=server.request_factory, **server._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """Cuts off who sends a head too slowly. A head that comes in one piece, as nearly all do, sets no timer."""

    __slots__ = ("_head_deadline", "_head_number", "_head_timer")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        # Still waiting for a request: what has come is a part of its head.
        if waiter is not None and not waiter.done() and self._head_number != self._request_count:
            self._expect_head()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; the second value says whether the client left before it was sent."""
        if isinstance(resp, web.HTTPException):  # an Expect nobody knows is refused before any middleware
            resp = _bare(http_error_response(resp))
        if self._upgraded or not is_plain(resp):
            return await super().finish_response(request, resp, start_time)
        request._finish()
        try:
            await send_plain(request, cast(web.Response, resp))
        except ConnectionError:
            return resp, True
        return resp, False

    def _expect_head(self) -> None:
        self._head_number = self._request_count
        self._head_deadline = self._loop.time() + HEAD_SECONDS
        if self._head_timer is None:
            self._head_timer = self._loop.call_at(self._head_deadline, self._close_when_late)

    def _close_when_late(self) -> None:
        self._head_timer = None
        if self._head_number != self._request_count:
            return  # it came whole
        if self._loop.time() < self._head_deadline:  # the timer of an earlier head
            self._head_timer = self._loop.call_at(self._head_deadline, self._close_when_late)
        else:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's own words
    ) -> web.StreamResponse:
        """What could not be parsed as a request is answered as any other refusal, and said quietly."""
        if isinstance(exc, ConnectionError) and request.writer.output_size:
            raise exc  # the client left, or its answer was broken off; both are noted where they happen
        if status >= 500:
            log.error("request_crashed", remote=request.remote, exc_info=exc)
            if request.writer.output_size:
                raise ConnectionAbortedError("the answer broke off") from exc
            return _last(error_response(ServerError()))
        log.info("malformed_request", remote=request.remote, cause=type(exc).__name__)
        response = error_response(InvalidRequest("The request is not well-formed HTTP."))
        response.set_status(status)
        return _last(response)


def _last(response: web.Response) -> web.Response:
    """The last answer on its connection."""
    response.force_close()
    return _bare(response)


def _bare(response: web.Response) -> web.Response:
    """An answer that no middleware has seen, with what every answer carries."""
    response.headers["X-Request-ID"] = new_request_id()
    response.headers.update(SECURITY_HEADERS)
    return response
