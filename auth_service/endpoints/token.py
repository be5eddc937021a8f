"""`POST /token`: the OAuth 2.1 token endpoint (RFC 6749 section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.client_form import FORM, authenticate_client, read_form
from auth_service.endpoints.token_answer import TokenAnswer, token_response
from auth_service.grants.token_request import Grant, TokenRequest
from auth_service.oauth.errors import (
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnsupportedGrantType,
)
from auth_service.tokens.token_issuer import TokenIssuer
from shared.errors import ContentTooLarge, InvalidRequest, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe


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
        parameters = await read_form(request)
        # 2. Authenticate the client.
        client_id = authenticate_client(request, parameters)
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
