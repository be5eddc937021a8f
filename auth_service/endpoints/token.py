"""`POST /token`: the OAuth 2.1 token endpoint (RFC 6749 section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from msgspec import Meta, Struct

from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.token_answer import TokenAnswer, token_response
from auth_service.grants.token_request import Grant, TokenRequest
from auth_service.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnsupportedGrantType,
)
from auth_service.tokens.access_tokens import FIRST_PARTY_CLIENT
from auth_service.tokens.token_issuer import TokenIssuer
from shared.errors import ContentTooLarge, InvalidRequest, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import read_body

FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16_384
MAX_PARAMETERS = 32


class TokenForm(Struct, frozen=True):
    """The form, for the interface's description; empty parameters count as absent (RFC 6749 section 3.2)."""

    grant_type: Annotated[str, Meta(description="`refresh_token`.")]
    refresh_token: str | None = None
    scope: Annotated[str | None, Meta(description="At most the scope that was granted.")] = None
    resource: Annotated[str | None, Meta(description="The resource the session is for (RFC 8707).")] = None
    client_id: Annotated[str | None, Meta(description="`first-party`; may be left out.")] = None


class TokenEndpoint:
    """The phases that every grant goes through, in one place."""

    def __init__(self, grants: Iterable[Grant], issuer: TokenIssuer, caller: CallerReader) -> None:
        self._grants = {grant.grant_type: grant for grant in grants}
        self._issuer = issuer
        self._caller = caller

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/token", self.post)]

    @describe(
        Operation(
            summary="Get tokens for a grant.",
            body=TokenForm,
            body_media_type=FORM,
            answers={200: Answer("A new token set.", TokenAnswer)},
            errors=(
                InvalidRequest,
                UnsupportedGrantType,
                InvalidGrant,
                InvalidScope,
                InvalidTarget,
                InvalidClient,
                ContentTooLarge,
                UnsupportedMediaType,
                Unavailable,
            ),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        # 1. Parse, once.
        parameters = await _read_form(request)
        # 2. Authenticate the client.
        client_id = _authenticate_client(request, parameters)
        # 3. Pick the grant.
        token_request = TokenRequest(parameters, client_id, self._caller.read(request))
        grant = self._grants.get(token_request.require("grant_type"))
        if grant is None:
            raise UnsupportedGrantType("There is no such grant type here.")
        # 4. Be able to sign.
        self._issuer.require_key()
        # 5. Prove and store, in one transaction; it is committed before anything is signed.
        authorization = await grant.authorize(token_request)
        # 6. Sign and answer.
        return token_response(self._issuer.issue(authorization.opened, authorization.scope))


async def _read_form(request: web.Request) -> Mapping[str, str]:
    if request.content_type != FORM:
        raise UnsupportedMediaType(f"The body must be {FORM}.")
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
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


def _authenticate_client(request: web.Request, parameters: Mapping[str, str]) -> str:
    """The only client so far is the public first-party one: it may name itself and has nothing to prove."""
    if hdrs.AUTHORIZATION in request.headers or "client_secret" in parameters or "client_assertion" in parameters:
        raise InvalidClient("This client does not authenticate.")
    client_id = parameters.get("client_id", FIRST_PARTY_CLIENT)
    if client_id != FIRST_PARTY_CLIENT:
        raise InvalidClient("There is no such client.")
    return client_id
