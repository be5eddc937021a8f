"""`GET /statuslists` and `GET /statuslists/{number}`: the Token Status Lists (draft-ietf-oauth-status-list-17)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from aiohttp import hdrs, web

from auth_service.model.status_list import LISTS_PATH
from auth_service.revocations.status_lists import LOOK_SECONDS, StatusLists, StatusListsUnavailable
from shared.cors import open_to_all_origins
from shared.errors import NotFound
from shared.openapi import Answer, Operation, describe
from shared.status_list import MEDIA_TYPE
from shared.web import names_etag

_number = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII).fullmatch
"""In one spelling: a list is named by its address."""

_AGGREGATION: dict[str, Any] = {
    "type": "object",
    "required": ["status_lists"],
    "properties": {"status_lists": {"type": "array", "items": {"type": "string", "format": "uri"}}},
}
_TOKEN: dict[str, Any] = {"type": "string", "description": "A JWS in compact form; docs/status-list.md has its claims."}


class StatusListsEndpoint:
    """Gives out each list, and the addresses of all of them."""

    def __init__(self, lists: StatusLists) -> None:
        self._lists = lists

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(LISTS_PATH, self.get_all), web.get(LISTS_PATH + "/{number}", self.get)]

    @open_to_all_origins
    @describe(
        Operation(
            summary="The addresses of all status lists (section 9.3).",
            answers={200: Answer("The addresses.", _AGGREGATION)},
            errors=(StatusListsUnavailable,),
        )
    )
    async def get_all(self, _request: web.Request) -> web.Response:
        body = json.dumps({"status_lists": await self._lists.uris()}, separators=(",", ":")).encode()
        headers = {hdrs.CACHE_CONTROL: f"public, max-age={int(LOOK_SECONDS)}", hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
        return web.Response(body=body, headers=headers, content_type="application/json")

    @open_to_all_origins
    @describe(
        Operation(
            summary="One status list: which sessions' tokens are not valid any more (section 8.2).",
            answers={
                200: Answer("The list, signed.", _TOKEN, MEDIA_TYPE, {"ETag": "Changes with each signature."}),
                304: Answer("The list is the one you have."),
            },
            errors=(NotFound, StatusListsUnavailable),
            headers={"If-None-Match": "The ETag of the list you have."},
            parameters={"number": {"type": "string", "description": "As the `uri` of a token has it."}},
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        signed = await self._lists.list_token(int(number)) if _number(number) else None
        if signed is None:
            raise NotFound("There is no such status list.")
        headers = {
            hdrs.ETAG: signed.etag,
            hdrs.CACHE_CONTROL: f"public, max-age={self._lists.max_age(signed)}",
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        }
        presented = request.headers.get(hdrs.IF_NONE_MATCH)
        if presented is not None and names_etag(presented, signed.etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=signed.body, headers=headers, content_type=MEDIA_TYPE)
