"""`/userData` and `/userData/{name}`: the caller's items over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from resource_service.protection import ACCESS_TOKEN, protect
from resource_service.user_data.item import (
    MAX_VALUE_BYTES,
    NAME,
    NAME_RULE,
    InvalidName,
    Owner,
    QuotaExceeded,
    parse_name,
)
from resource_service.user_data.preconditions import parse_preconditions
from resource_service.user_data.store import ItemStore, Page
from shared.bearer import InsufficientScope, InvalidToken, MalformedCredentials, MissingCredentials
from shared.errors import (
    ContentTooLarge,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    Unavailable,
    UnsupportedMediaType,
)
from shared.openapi import Answer, Operation, describe
from shared.slow_client import write_piece
from shared.web import begin_answer, read_json

READ = "data:read"
WRITE = "data:write"
JSON = "application/json"
ITEM_PATH = "/userData/{name:[^/]+}"
"""Any one segment, so that a name which cannot be is told so instead of "nothing is here"."""
PRIVATE = {"Cache-Control": "private, no-store"}
MAX_STREAMS = 32
"""Long listings sent at a time: each holds about a megabyte while its client is slow."""
MAX_STREAMS_OF_ONE = 2
"""How many of them one user may have."""

_BEFORE, _AFTER = b'{"status":"Success","data":{', b"}}"
_LISTING_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["status", "data"],
    "properties": {
        "status": {"const": "Success"},
        "data": {"type": "object", "description": "Every item: its name and its value.", "additionalProperties": True},
    },
    "additionalProperties": False,
}
_NAME = {"name": {"type": "string", "pattern": f"^{NAME.pattern}$", "description": NAME_RULE}}
_VALUE: Mapping[str, Any] = {"description": "Any JSON value."}
_TAG = {"ETag": "The strong entity tag of the value; it changes with every write."}
_IF_MATCH = {"If-Match": "Entity tags, one of which must be the current one, or * for any."}
_IF_NONE_MATCH = {"If-None-Match": "Entity tags, none of which may be the current one, or * for none at all."}
_REFUSED = (MalformedCredentials, MissingCredentials, InvalidToken, InsufficientScope, Unavailable)
_REFUSED_ITEM = (InvalidName, PreconditionFailed, *_REFUSED)


class Listing:
    """`GET /userData`: everything the caller has, by name."""

    def __init__(self, store: ItemStore) -> None:
        self._store = store
        self._streams: Counter[Owner] = Counter()

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/userData", self.get)]

    @protect(READ)
    @describe(
        Operation(
            summary="All of the caller's items.",
            answers={200: Answer("The items.", _LISTING_SCHEMA)},
            errors=_REFUSED,
            scopes=(READ,),
        )
    )
    async def get(self, request: web.Request) -> web.StreamResponse:
        owner = _owner(request)
        page = await self._store.page(owner)
        if page.next_after is None:
            return web.Response(body=_BEFORE + _members(page) + _AFTER, content_type=JSON, headers=PRIVATE)
        return await self._stream(request, owner, page)

    async def _stream(self, request: web.Request, owner: Owner, page: Page) -> web.StreamResponse:
        """What is too much for one piece is read and sent piece by piece, at the pace the client takes it.

        Each item is as it was at some moment while the listing was sent; one that does not change is in it once.
        """
        if self._streams[owner] >= MAX_STREAMS_OF_ONE or self._streams.total() >= MAX_STREAMS:
            raise Unavailable("Too many long listings are being sent.")
        self._streams[owner] += 1
        try:
            response = web.StreamResponse(headers={**PRIVATE, "Content-Type": JSON})
            await begin_answer(request, response)
            if request.method == "HEAD":
                return response
            await write_piece(request, response, _BEFORE + _members(page))
            while page.next_after is not None:
                page = await self._store.page(owner, page.next_after)
                if page.items:
                    await write_piece(request, response, b"," + _members(page))
            await write_piece(request, response, _AFTER)
            return response
        finally:
            self._streams[owner] -= 1
            if not self._streams[owner]:
                del self._streams[owner]


class OneItem:
    """`/userData/{name}`: one item of the caller's."""

    def __init__(self, store: ItemStore) -> None:
        self._store = store

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get(ITEM_PATH, self.get),
            web.put(ITEM_PATH, self.put),
            web.delete(ITEM_PATH, self.delete),
        ]

    @protect(READ)
    @describe(
        Operation(
            summary="The value of an item, exactly as it was stored.",
            answers={
                200: Answer("The value.", _VALUE, headers=_TAG),
                304: Answer("The value is the one that If-None-Match names.", headers=_TAG),
            },
            errors=(NotFound, *_REFUSED_ITEM),
            scopes=(READ,),
            parameters=_NAME,
            headers=_IF_MATCH | _IF_NONE_MATCH,
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        name = parse_name(request.match_info["name"])
        preconditions = parse_preconditions(request.headers)
        item = await self._store.find(_owner(request), name)
        if item is None:
            raise _no_such_item()
        headers = {**PRIVATE, "ETag": f'"{item.etag}"'}
        if not preconditions.if_match_holds(item.etag):
            raise PreconditionFailed("The item is not the one that If-Match names.")
        if not preconditions.if_none_match_holds(item.etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=item.value, content_type=JSON, headers=headers)

    @protect(WRITE)
    @describe(
        Operation(
            summary="Create or replace an item.",
            answers={
                201: Answer("The item was created.", headers={**_TAG, "Location": "Where it is."}),
                204: Answer("The item was replaced.", headers=_TAG),
            },
            errors=(InvalidRequest, ContentTooLarge, QuotaExceeded, UnsupportedMediaType, *_REFUSED_ITEM),
            body=_VALUE,
            scopes=(WRITE,),
            parameters=_NAME,
            headers=_IF_MATCH | _IF_NONE_MATCH,
        )
    )
    async def put(self, request: web.Request) -> web.Response:
        name = parse_name(request.match_info["name"])
        preconditions = parse_preconditions(request.headers)
        if "Content-Range" in request.headers:
            # Taking a part for the whole would lose the rest (RFC 9110 section 14.5).
            raise InvalidRequest("An item is replaced whole; Content-Range is not understood.")
        value, _ = await read_json(request, max_bytes=MAX_VALUE_BYTES)
        stored = await self._store.put(_owner(request), name, value, preconditions)
        headers = {**PRIVATE, "ETag": f'"{stored.etag}"'}
        if stored.created:
            return web.Response(status=201, headers={**headers, "Location": f"/userData/{name}"})
        return web.Response(status=204, headers=headers)

    @protect(WRITE)
    @describe(
        Operation(
            summary="Delete an item.",
            answers={204: Answer("The item was deleted.")},
            errors=(NotFound, *_REFUSED_ITEM),
            scopes=(WRITE,),
            parameters=_NAME,
            headers=_IF_MATCH | _IF_NONE_MATCH,
        )
    )
    async def delete(self, request: web.Request) -> web.Response:
        name = parse_name(request.match_info["name"])
        preconditions = parse_preconditions(request.headers)
        if not await self._store.delete(_owner(request), name, preconditions):
            raise _no_such_item()
        return web.Response(status=204, headers=PRIVATE)


def _owner(request: web.Request) -> Owner:
    token = request[ACCESS_TOKEN]
    return Owner(token.issuer, token.subject)


def _no_such_item() -> NotFound:
    return NotFound("There is no item of this name.")


def _members(page: Page) -> bytes:
    # Values are JSON already, and names have no character that JSON would escape.
    return b",".join(b'"%b":%b' % (name.encode("ascii"), value) for name, value in page.items)
