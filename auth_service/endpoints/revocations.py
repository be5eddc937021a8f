"""`GET /revocations`: what is revoked before it expires, signed, for everybody (`docs/revocation.md`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import hdrs, web

from auth_service.revocations.feed import FeedUnavailable, RevocationFeed, SignedDocument
from shared.cors import open_to_all_origins
from shared.errors import InvalidRequest
from shared.openapi import Answer, Operation, describe
from shared.revocation_feed import MEDIA_TYPE, START, Position, valid_mark
from shared.slow_client import write_piece
from shared.web import begin_answer, names_etag

REVOCATIONS_PATH: Final = "/revocations"
EVENT_STREAM: Final = "text/event-stream"
MAX_WAIT_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 10.0
"""How long an event stream is silent at most: each event also says that there is nothing else."""
PIECE_BYTES: Final = 65_536
"""Sent at a time, so that a reader that takes nothing holds no more than that of a long document."""
MAX_AGE_SECONDS: Final = 1
"""How long a cache may answer for us; a request that waits is not for caches."""

_seq = re.compile(r"[0-9]{1,15}", re.ASCII).fullmatch
_wait = re.compile(r"[0-9]{1,3}", re.ASCII).fullmatch
_event_id = re.compile(r"([0-9]{1,15})\.([A-Za-z0-9_-]{1,32})", re.ASCII).fullmatch

_DOCUMENT: dict[str, Any] = {
    "type": "string",
    "description": "A JWS in compact form; docs/revocation.md has its members.",
}

_STREAM = {
    hdrs.CONTENT_TYPE: EVENT_STREAM,
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.VARY: hdrs.ACCEPT,
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    "X-Accel-Buffering": "no",  # nginx would keep events to itself until a buffer is full
}


class RevocationsEndpoint:
    """Gives out the feed whole, from a place on, held until there is news, or as a stream of events."""

    def __init__(self, feed: RevocationFeed) -> None:
        self._feed = feed

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(REVOCATIONS_PATH, self.get)]

    @open_to_all_origins
    @describe(
        Operation(
            summary="What is revoked before it expires, from a place in the feed on.",
            answers={
                200: Answer("The next part of the feed.", _DOCUMENT, MEDIA_TYPE, {"ETag": "Changes with the feed."}),
                304: Answer("The document is the one you have."),
            },
            errors=(InvalidRequest, FeedUnavailable),
            headers={
                "If-None-Match": "The ETag of the document you have; not heeded with `wait`.",
                "Accept": f"`{EVENT_STREAM}` for a stream of the same documents.",
                "Last-Event-ID": "Where an event stream is to go on.",
            },
            parameters={
                "?after": {"type": "integer", "minimum": 0, "description": "The `seq` that you have reached."},
                "?mark": {"type": "string", "description": "The `mark` that came with it."},
                "?wait": {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "description": "Seconds."},
            },
        )
    )
    async def get(self, request: web.Request) -> web.StreamResponse:
        after = _read_position(request)
        if EVENT_STREAM in request.headers.get(hdrs.ACCEPT, ""):
            if request.method == hdrs.METH_HEAD:
                return web.Response(headers=_STREAM)
            return await self._stream(request, after)
        wait_seconds = _read_wait(request)
        document = await self._feed.document(after, wait_seconds=wait_seconds)
        headers = {
            hdrs.ETAG: document.etag,
            hdrs.CACHE_CONTROL: "no-store" if wait_seconds else f"public, max-age={MAX_AGE_SECONDS}",
            hdrs.VARY: hdrs.ACCEPT,
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        }
        presented = request.headers.get(hdrs.IF_NONE_MATCH)
        if presented is not None and not wait_seconds and names_etag(presented, document.etag):
            return web.Response(status=304, headers=headers)
        if len(document.body) <= PIECE_BYTES or request.method == hdrs.METH_HEAD:
            return web.Response(body=document.body, headers=headers, content_type=MEDIA_TYPE)
        response = web.StreamResponse(headers={**headers, hdrs.CONTENT_TYPE: MEDIA_TYPE})
        response.content_length = len(document.body)
        await begin_answer(request, response)
        await _send(request, response, document.body)
        return response

    async def _stream(self, request: web.Request, after: Position) -> web.StreamResponse:
        """Each document as an event, from `after` or the reader's last event on.

        It ends when the service stops, when the reader takes too long, and when as many wait as may: who comes again
        then is answered event by event.
        """
        last = request.headers.get("Last-Event-ID")
        if last is not None:
            form = _event_id(last)
            after = START if form is None else Position(int(form[1]), form[2])
        document = await self._feed.document(after)
        response = web.StreamResponse(headers=_STREAM)
        await begin_answer(request, response)
        while True:
            await _send(request, response, _event_head(document), document.body, b"\n\n")
            if self._feed.is_closed or self._feed.is_crowded:
                break
            document = await self._feed.document(document.reached, wait_seconds=HEARTBEAT_SECONDS)
        await response.write_eof()
        return response


def _event_head(document: SignedDocument) -> bytes:
    return f"id: {document.reached.seq}.{document.reached.mark}\nevent: revocations\ndata: ".encode()


async def _send(request: web.Request, response: web.StreamResponse, *parts: bytes) -> None:
    """Write `parts` at the pace at which the reader takes them; one that takes too long loses its connection."""
    for part in parts:
        for at in range(0, len(part), PIECE_BYTES):
            await write_piece(request, response, memoryview(part)[at : at + PIECE_BYTES])


def _read_position(request: web.Request) -> Position:
    after, mark = _parameter(request, "after"), _parameter(request, "mark")
    if after is None:
        return START
    if not _seq(after) or (mark is not None and not valid_mark(mark)):
        raise InvalidRequest("The parameters after and mark do not have their form.")
    return Position(int(after), mark or "")


def _read_wait(request: web.Request) -> int:
    wait = _parameter(request, "wait")
    if wait is None:
        return 0
    if not _wait(wait):
        raise InvalidRequest("The parameter wait must be a number of seconds.")
    return min(int(wait), MAX_WAIT_SECONDS)


def _parameter(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise InvalidRequest("A parameter is given more than once.")
    return values[0] if values else None
