"""What the endpoints for clients share: the form, read once, and who the client is (RFC 6749 sections 2.3 and 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from aiohttp import hdrs, web

from auth_service.oauth.errors import InvalidClient
from auth_service.tokens.access_tokens import FIRST_PARTY_CLIENT
from shared.errors import InvalidRequest, UnsupportedMediaType
from shared.web import read_body

FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16_384
MAX_PARAMETERS = 32


async def read_form(request: web.Request, *, max_bytes: int = MAX_FORM_BYTES) -> Mapping[str, str]:
    """The form's parameters, each at most once; empty ones count as absent."""
    if request.content_type != FORM:
        raise UnsupportedMediaType(f"The body must be {FORM}.")
    body = await read_body(request, max_bytes=max_bytes)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise InvalidRequest("The form is malformed.") from None
    if len({name for name, _ in pairs}) != len(pairs):
        # RFC 6749 section 3.2: parameters must not be included more than once.
        raise InvalidRequest("A parameter is given more than once.")
    return {name: value for name, value in pairs if value}


def authenticate_client(request: web.Request, parameters: Mapping[str, str]) -> str:
    """The only client so far is the public first-party one: it may name itself and has nothing to prove."""
    if hdrs.AUTHORIZATION in request.headers or "client_secret" in parameters or "client_assertion" in parameters:
        raise InvalidClient("This client does not authenticate.")
    client_id = parameters.get("client_id", FIRST_PARTY_CLIENT)
    if client_id != FIRST_PARTY_CLIENT:
        raise InvalidClient("There is no such client.")
    return client_id
