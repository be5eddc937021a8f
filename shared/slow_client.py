"""How long a client may take for what it is sent. One that takes longer is cut off, for what waits for it is held in
memory; what it got cannot be taken for the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import hdrs, web

PIECE_SECONDS: Final = 20.0
"""How long a client may take for one piece of an answer."""


async def write_piece(request: web.Request, response: web.StreamResponse, piece: bytes | memoryview) -> None:
    """Send a piece of an answer that `shared.web.begin_answer` began; it returns when the next may come.

    ConnectionError when the client left or was cut off. A piece has some 10 to 300 kB.
    """
    if request.method == hdrs.METH_HEAD:
        # It would stand where the next answer is expected.
        raise RuntimeError("HEAD is answered without a body")
    async with cut_off_after(PIECE_SECONDS, request):
        await response.write(piece)


@asynccontextmanager
async def cut_off_after(seconds: float, request: web.BaseRequest) -> AsyncIterator[None]:
    """Cut off the client of `request` when the block, which waits for it, takes longer; then ConnectionAbortedError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the client does not read") from None
