"""The containers' health check."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared import health


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (204, False), (302, False), (404, False), (503, False)])
async def test_only_200_is_healthy(status: int, healthy: bool) -> None:
    """An answer other than 200 is not health, and a redirect to somebody who is well is not either."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/well":
            return web.Response()
        return web.Response(status=status, headers={"Location": "/well"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        assert await asyncio.to_thread(health.answers, str(server.make_url("/readyz"))) is healthy


async def test_nobody_listening_is_not_healthy(unused_tcp_port: int) -> None:
    """A refused connection is exit code 1 with one line, not a stack trace."""
    assert await asyncio.to_thread(health.main, [f"http://127.0.0.1:{unused_tcp_port}/readyz"]) == 1


async def test_an_answer_that_is_not_http_is_not_healthy() -> None:
    """Some other program on the port is not health."""

    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"mumble\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(mumble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(health.answers, f"http://127.0.0.1:{port}/readyz") is False


def test_only_http_is_asked() -> None:
    """No file and no other scheme, whatever urllib knows."""
    assert health.answers("file:///dev/null") is False


async def test_the_proxies_of_the_environment_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    """The check is of this container, not of what a proxy says about it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/readyz", answer)
    async with TestServer(app) as server:
        assert await asyncio.to_thread(health.answers, str(server.make_url("/readyz"))) is True


def test_the_arguments_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a URL it says how it is used."""
    assert health.main([]) == 1
    assert "usage" in capsys.readouterr().err
