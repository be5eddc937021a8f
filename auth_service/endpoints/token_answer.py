"""The successful token answer, the same wherever tokens are given out (RFC 6749 section 5.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.tokens.token_set import TokenSet
from shared.web import NO_STORE, json_response


class TokenAnswer(Struct, frozen=True):
    """The members of a token answer, for the interface's description."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Seconds.")]
    refresh_token: str
    scope: str


def token_response(tokens: TokenSet) -> web.Response:
    """`tokens` as the answer; no cache may keep it."""
    return json_response(
        {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": tokens.expires_in,
            "refresh_token": tokens.refresh_token,
            "scope": str(tokens.scope),
        },
        headers={**NO_STORE, "Pragma": "no-cache"},
    )
