"""`POST /revoke`: a client gives a token back (RFC 7009)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.client_form import FORM, authenticate_client, read_form
from auth_service.identity.sessions import AccessTokenId, Sessions
from auth_service.model.refresh_token import RefreshToken
from auth_service.model.session import EndReason
from auth_service.oauth.errors import InvalidClient
from shared.errors import ContentTooLarge, InvalidRequest, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE


class RevokeForm(Struct, frozen=True):
    """The form, for the interface's description."""

    token: str
    token_type_hint: Annotated[str | None, Meta(description="Not needed: a token of ours says what it is.")] = None
    client_id: Annotated[str | None, Meta(description="`first-party`; may be left out.")] = None


class RevokeEndpoint:
    """A refresh token ends its session; an access token alone is refused from now on, its session goes on.

    A token that is unknown, expired or another client's is answered like one that was revoked: 200 (section 2.2), so
    nobody learns here whether a token is good.
    """

    def __init__(self, sessions: Sessions, bearer: FirstPartyBearer, caller: CallerReader) -> None:
        self._sessions = sessions
        self._bearer = bearer
        self._caller = caller

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/revoke", self.post)]

    @describe(
        Operation(
            summary="Revoke a refresh token with its session, or an access token.",
            body=RevokeForm,
            body_media_type=FORM,
            answers={200: Answer("The token is not valid any more.")},
            errors=(InvalidRequest, InvalidClient, ContentTooLarge, UnsupportedMediaType, Unavailable),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        parameters = await read_form(request)
        client_id = authenticate_client(request, parameters)
        presented_token = parameters.get("token")
        if presented_token is None:
            raise InvalidRequest("The parameter token is missing.")
        caller = self._caller.read(request)
        if RefreshToken.parse(presented_token) is not None:
            await self._sessions.end_by_token(presented_token, caller, reason=EndReason.TOKEN_REVOKED)
        else:
            token = self._bearer.recognise(presented_token)
            if token is not None and token.client_id == client_id:
                revoked = AccessTokenId(token.token_id, token.subject, token.session_id, token.expires_at)
                await self._sessions.revoke_access_token(revoked, caller)
        return web.Response(headers=NO_STORE)
