"""HTTP as bytes: an application behind the real server, and requests that no well-meaning client would send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from shared.serving import ServiceRunner

ANSWER_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came over the wire; `closed` says that the server closed the connection after it."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    closed: bool

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def serve(app: web.Application, port: int = 0) -> AsyncIterator[int]:
    """`app` behind the server the services run on; the port it listens on, any free one for 0."""
    runner = ServiceRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield port
    finally:
        await runner.cleanup()


async def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> Reply:
    """Send `pieces`, with a pause between them, and read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _send(writer, pieces, pause)
            return await read_reply(reader)
    finally:
        writer.close()


async def _send(writer: asyncio.StreamWriter, pieces: Iterable[bytes], pause: float) -> None:
    with suppress(ConnectionError):  # refused before it was all sent; the answer says why
        for number, piece in enumerate(pieces):
            if number and pause:
                await asyncio.sleep(pause)
            writer.write(piece)
            await writer.drain()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read one answer from a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.rstrip("\r\n").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    body = b""
    if "Content-Length" in headers and status != 304:
        body = await reader.readexactly(int(headers["Content-Length"]))
    connection = headers.get("Connection", "keep-alive" if lines[0].startswith("HTTP/1.1 ") else "close")
    closed = connection.lower() == "close" and await reader.read() == b""
    return Reply(status, CIMultiDictProxy(headers), body, closed)
