"""A client has a while for each piece of a long answer, and no more."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from shared import slow_client
from shared.slow_client import write_piece
from tests.wire import serve

PIECE = b"x" * 100_000
PIECES = 200
"""More than the kernel's buffers hold."""


class LongAnswer:
    """An answer of many pieces; `ended` is how the sending of it ended, once it has."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def get(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = PIECES * len(PIECE)
        await response.prepare(request)
        try:
            for _ in range(PIECES):
                await write_piece(request, response, PIECE)
        except BaseException as error:
            self.ended.set_result(error)
            raise
        self.ended.set_result(None)
        return response


def mounted(answer: LongAnswer) -> web.Application:
    app = web.Application()
    app.router.add_get("/", answer.get)
    return app


async def test_a_client_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends within the bound, before the answer is whole."""
    monkeypatch.setattr(slow_client, "PIECE_SECONDS", 0.2)
    answer = LongAnswer()
    async with serve(mounted(answer)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            ended = await answer.ended
            assert isinstance(ended, ConnectionAbortedError)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(PIECES * len(PIECE))
        writer.close()


async def test_a_client_that_takes_its_time_is_served_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is for a piece: the whole may take several times as long."""
    monkeypatch.setattr(slow_client, "PIECE_SECONDS", 1.0)
    answer = LongAnswer()
    async with serve(mounted(answer)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4_096)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(PIECES):
            await reader.readexactly(len(PIECE))
            await asyncio.sleep(0.01)
        assert loop.time() - begun > slow_client.PIECE_SECONDS
        assert await answer.ended is None
        writer.close()
