"""`GET /.well-known/jwks.json`: the public keys (RFC 7517 section 5)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDict

from auth_service.endpoints.openapi import KEY_SET_SCHEMA
from shared.cors import open_to_all_origins
from shared.errors import Unavailable
from shared.openapi import Answer, Operation, describe
from shared.web import names_etag

MAX_AGE_SECONDS = 300
"""How long a key set may be kept. The rotation waits for at least twice this before a new key signs."""
MEDIA_TYPE = "application/jwk-set+json"


class KeySetDocument(Protocol):
    """The key set as it is sent, made anew only when the keys change."""

    @property
    def body(self) -> bytes: ...

    @property
    def etag(self) -> str: ...


class KeySetSource(Protocol):
    """Where the endpoint gets the document: the key ring."""

    def key_set(self) -> KeySetDocument: ...


class JwksEndpoint:
    """Serves the ready bytes of the key ring."""

    def __init__(self, key_ring: KeySetSource) -> None:
        self._key_ring = key_ring

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/.well-known/jwks.json", self.get)]

    @open_to_all_origins
    @describe(
        Operation(
            summary="The public keys that verify this issuer's tokens.",
            answers={
                200: Answer("The key set.", KEY_SET_SCHEMA, MEDIA_TYPE, {"ETag": "Changes when the keys change."}),
                304: Answer("The key set is the one you have."),
            },
            errors=(Unavailable,),
            headers={"If-None-Match": "The ETag of the key set you have."},
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        document = self._key_ring.key_set()
        headers = _headers(document.etag)
        presented = request.headers.get(hdrs.IF_NONE_MATCH)
        if presented is not None and names_etag(presented, document.etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=document.body, headers=headers, content_type=MEDIA_TYPE)


@lru_cache(maxsize=2)
def _headers(etag: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            hdrs.CACHE_CONTROL: f"public, max-age={MAX_AGE_SECONDS}",
            hdrs.ETAG: etag,
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        }
    )
