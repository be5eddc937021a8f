"""One service in the foreground: it says when it is ready, bounds what a connection may take, and stops in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from textwrap import dedent

import pytest
import structlog
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy
from prometheus_client import CollectorRegistry

import shared.serving
from shared.metrics import RequestFigures
from shared.web import create_app, json_response
from tests.end_to_end.deployment import free_ports
from tests.wire import exchange, read_reply, serve

PROGRAM = """
    import asyncio, contextlib, sys
    from aiohttp import web
    import shared.serving
    from shared.logging import configure_logging
    from shared.serving import Listener, run

    configure_logging("sample")
    {setup}
    opened = False

    async def quick(request):
        return web.json_response({{"loop": type(asyncio.get_running_loop()).__module__}})

    async def slow(request):
        print("begun", flush=True)
        await asyncio.sleep({seconds})
        return web.json_response({{"opened": opened}})

    @contextlib.asynccontextmanager
    async def open_service():
        global opened
        app = web.Application()
        app.router.add_get("/quick", quick)
        app.router.add_get("/slow", slow)
        opened = True
        try:
            yield [Listener(app, "127.0.0.1", {port})]
        finally:
            opened = False
            print("closed", flush=True)

    sys.exit(run(open_service, ready_line="ready now"))
"""


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


@contextmanager
def running(port: int, *, seconds: float = 0.5, setup: str = "") -> Iterator[subprocess.Popen[str]]:
    """The sample program, ready; killed at the end when it has not stopped by itself."""
    code = dedent(PROGRAM).format(port=port, seconds=seconds, setup=setup)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready now\n"
        yield process
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_it_says_that_it_is_ready_and_stops_on_a_signal(port: int, name: str) -> None:
    """The ready line means that requests are answered; a signal ends it with exit code 0 and nothing on stderr."""
    with running(port) as process:
        assert (await exchange(port, get("/quick"))).status == 200
        process.send_signal(signal.Signals[name])
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, "closed\n")
    assert "Traceback" not in errors


async def test_uvloop_runs_it_where_it_is_there(port: int) -> None:
    """The faster loop is taken when it is installed, and asyncio's own otherwise."""
    with running(port):
        assert (await exchange(port, get("/quick"))).json() == {"loop": "uvloop"}
    with running(port, setup="sys.modules['uvloop'] = None"):
        assert (await exchange(port, get("/quick"))).json()["loop"].startswith("asyncio")


async def test_a_stop_finishes_what_is_in_flight(port: int) -> None:
    """A request that was begun is answered, with all it needs still open; nobody new is let in meanwhile."""
    with running(port, seconds=1) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/slow"))
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "begun\n"
        answered = asyncio.create_task(read_reply(reader))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionRefusedError):
            await open_for_ever(port)
        assert not answered.done()
        reply = await answered
        writer.close()
        output, _ = process.communicate(timeout=10)
    assert (reply.status, reply.json(), output, process.returncode) == (200, {"opened": True}, "closed\n", 0)


async def open_for_ever(port: int) -> None:
    """Open one connection after another, as long as somebody listens."""
    while True:
        # One that lies in the listener's queue when that closes is reset.
        with suppress(ConnectionResetError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()


async def test_a_stop_does_not_wait_for_ever(port: int) -> None:
    """What is not finished within the grace is given up."""
    with running(port, seconds=60, setup="shared.serving.GRACE_SECONDS = 0.2") as process:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/slow"))
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "begun\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        writer.close()
    assert process.returncode == 0


async def test_a_stop_does_not_wait_for_idle_connections(port: int) -> None:
    """A connection kept alive without a request in flight holds nothing up."""
    with running(port) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/quick"))
        await read_reply(reader)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        writer.close()
    assert process.returncode == 0


def start(code: str) -> tuple[int, str, str]:
    """Run a program that is to fail at its start."""
    finished = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, timeout=30, check=False
    )
    return finished.returncode, finished.stdout, finished.stderr


def test_a_port_in_use_is_said_in_one_line(port: int) -> None:
    """The reason is a line for people, not a traceback, and the exit code is 1; what was opened is closed."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, output, errors = start(dedent(PROGRAM).format(port=port, seconds=0, setup=""))
    assert (code, output) == (1, "closed\n")
    assert errors.startswith(f"cannot start: cannot listen on 127.0.0.1:{port} (")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (
            "Database.open('postgresql://user:canary@127.0.0.1:1/none').engine",
            "The database cannot be opened. (psycopg",
        ),
        ("Database.open('sqlite:////dev/null/x.sqlite3').engine", "File exists: /dev/null"),
    ],
)
def test_a_database_that_is_not_there_is_said_in_one_line(opening: str, reason: str) -> None:
    """The same for storage; its password is not in the line."""
    code, output, errors = start(f"""
        import contextlib, pathlib, sys
        from shared.database import Database
        from shared.migrations import migrate
        from shared.serving import run
        @contextlib.asynccontextmanager
        async def open_service():
            migrate({opening}, pathlib.Path("auth_service/storage/migrations"))
            yield []
        sys.exit(run(open_service, ready_line="ready now"))
    """)
    assert (code, output) == (1, "")
    assert errors.startswith(f"cannot start: {reason}")
    assert errors.count("\n") == 1
    assert "canary" not in errors


def test_the_unsafe_parser_is_not_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Hostile cases, HTTP layer: without aiohttp's C parser the service does not start."""
    monkeypatch.setattr(shared.serving, "HttpRequestParser", HttpRequestParserPy)
    assert shared.serving.run(lambda: pytest.fail("opened"), ready_line="") == 1
    assert "not safe" in capsys.readouterr().err


# What one connection may take.


class Quick:
    """Answers at once."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/quick", self.get)]

    async def get(self, _request: web.Request) -> web.Response:
        return json_response({})


@pytest.fixture
async def impatient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server that waits 0.3 s for a request head and 2 s between requests."""
    monkeypatch.setattr(shared.serving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(shared.serving, "KEEP_ALIVE_SECONDS", 2.0)
    async with serve(create_app([Quick()], figures=RequestFigures(CollectorRegistry()))) as port:
        yield port


async def seconds_until_closed(port: int, *sent: bytes) -> float:
    """How long the server keeps a connection open on which `sent` drips in, one piece each tenth of a second."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = loop.time()

    async def drip() -> None:
        for piece in sent:
            writer.write(piece)
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(10):
        with suppress(ConnectionError):  # closed while a piece was under way
            await reader.read()
    dripping.cancel()
    writer.close()
    return loop.time() - started


async def test_a_silent_connection_is_closed(impatient: int) -> None:
    """Who connects and says nothing is not waited for."""
    assert 0.2 < await seconds_until_closed(impatient) < 1.9


async def test_a_head_that_drips_is_closed(impatient: int) -> None:
    """The whole first head has to arrive in time, however busily it drips."""
    assert 0.2 < await seconds_until_closed(impatient, b"GET /quick HTTP/1.1\r\n", *[b"X: y\r\n"] * 30) < 1.9


async def test_a_later_head_that_drips_is_closed(impatient: int) -> None:
    """So does each head after it, from its first byte on, whether the connection lay idle before or not."""
    drip = [b"GET /quick HTTP/1.1\r\n", *[b"X: y\r\n"] * 30]
    assert 0.2 < await seconds_until_closed(impatient, get("/quick"), *drip) < 1.9
    assert 0.2 < await seconds_until_closed(impatient, get("/quick") + drip[0], *drip[1:]) < 1.9
    assert 0.5 < await seconds_until_closed(impatient, get("/quick"), *[b""] * 4, *drip) < 1.9


async def test_each_head_has_its_own_time(impatient: int) -> None:
    """Heads that come in two pieces each, one after the other for longer than one head may take, are all answered."""
    head = get("/quick")
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient)
    for _ in range(6):
        writer.write(head[:20])
        await asyncio.sleep(0.1)
        writer.write(head[20:])
        assert (await read_reply(reader)).status == 200
    writer.close()


async def test_a_used_connection_lives_on_until_it_is_idle(impatient: int) -> None:
    """After a request the longer limit for idle connections holds."""
    assert await seconds_until_closed(impatient, get("/quick")) > 1.9


async def test_an_answer_that_began_is_followed_by_no_other() -> None:
    """A crash in the middle of an answer ends the connection: what came is half of it, and nothing else."""

    async def crash(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise RuntimeError

    app = web.Application()
    app.router.add_get("/", crash)
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/"))
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"half\r\n")


async def test_what_no_middleware_catches_is_answered_in_our_form() -> None:
    """An application without our middleware that crashes: 500 as JSON; what happened is in the log alone."""

    async def crash(_request: web.Request) -> web.Response:
        raise RuntimeError("canary314")

    app = web.Application()
    app.router.add_get("/", crash)
    with structlog.testing.capture_logs() as lines:
        async with serve(app) as port:
            reply = await exchange(port, get("/"))
    assert (reply.status, reply.closed, reply.headers["Server"]) == (500, True, "signet")
    assert reply.json()["error"] == "server_error"
    assert "canary314" not in reply.body.decode()
    (line,) = [line for line in lines if line["event"] == "request_crashed"]
    assert isinstance(line["exc_info"], RuntimeError)
