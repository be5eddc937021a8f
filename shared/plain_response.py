"""Writes a response that is whole already: its head and its bytes, in one step.

aiohttp prepares every response as if it might stream, compress, chunk or set cookies. Most of ours are a few bytes that
are there, and for those that preparation is about a fifth of what a bare request costs. What is sent is the same to the
byte: `tests/shared/test_plain_response.py` holds the two beside each other.
"""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time, should_remove_content_length
from aiohttp.http import SERVER_SOFTWARE, HttpVersion10, HttpVersion11
from aiohttp.http_writer import StreamWriter, _serialize_headers

from shared.slow_client import cut_off_after

NOT_MODIFIED: Final = 304
DRAIN_SECONDS: Final = 60.0
"""How long a client may take for a response. Longer than for a piece of one (`shared.slow_client`): it is all there, a
listing of some 400 kB at the most by default, and while it is taken nobody else waits for a place."""
MAX_UNTAKEN_BYTES: Final = 33_554_432
"""What may wait for clients of this process together; a client that would make it more is cut off."""


def is_plain(response: web.StreamResponse) -> bool:
    """Whether `send_plain` can write the response: bytes or nothing, not begun, no cookie, no coding."""
    return (
        type(response) is web.Response
        and type(response._body) in (bytes, type(None))
        and response._cookies is None
        and not response._compression
        and not response._chunked
        and not response._eof_sent
        and response._payload_writer is None
        and hdrs.CONTENT_LENGTH not in response._headers
    )


async def send_plain(request: web.BaseRequest, response: web.Response) -> None:
    """Write a response that is plain, as its `prepare` and `write_eof` would. ConnectionError when the client left."""
    body, headers, status = response._body or b"", response._headers, response._status
    assert isinstance(body, bytes)  # noqa: S101 - is_plain said so
    version = request.version
    must_be_empty = must_be_empty_body(request.method, status)
    has_length = bool(body) or (status != NOT_MODIFIED and request.method != hdrs.METH_HEAD)
    if has_length and not (must_be_empty and should_remove_content_length(request.method, status)):
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
    if body and not must_be_empty:
        headers.setdefault(hdrs.CONTENT_TYPE, "application/octet-stream")
    headers.setdefault(hdrs.DATE, rfc822_formatted_time())
    headers.setdefault(hdrs.SERVER, SERVER_SOFTWARE)
    if response._keep_alive is None:
        response._keep_alive = request.keep_alive
    if hdrs.CONNECTION not in headers:
        if response._keep_alive:
            if version == HttpVersion10:
                headers[hdrs.CONNECTION] = "keep-alive"
        elif version == HttpVersion11:
            headers[hdrs.CONNECTION] = "close"
    await request._prepare_hook(response)
    head = _serialize_headers(f"HTTP/{version[0]}.{version[1]} {status} {response._reason}", headers)
    writer = request._payload_writer
    assert isinstance(writer, StreamWriter)  # noqa: S101 - the server gives no other
    writer._write(head if must_be_empty else head + body)
    writer._eof = response._eof_sent = True
    response._body_length = writer.output_size
    if writer.protocol.writing_paused:
        await _untaken.wait(request, writer)


class _Untaken:
    """Counts what waits in memory for clients that are slow to take it."""

    def __init__(self) -> None:
        self._bytes = 0

    async def wait(self, request: web.BaseRequest, writer: StreamWriter) -> None:
        transport = writer.transport
        if transport is None:
            raise ConnectionResetError("the client left")
        waiting = transport.get_write_buffer_size()
        if self._bytes + waiting > MAX_UNTAKEN_BYTES:
            transport.abort()
            raise ConnectionAbortedError("too much waits for clients that do not read")
        self._bytes += waiting
        try:
            async with cut_off_after(DRAIN_SECONDS, request):
                await writer.drain()
        finally:
            self._bytes -= waiting


_untaken = _Untaken()
