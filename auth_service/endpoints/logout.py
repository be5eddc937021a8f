"""`POST /logout`: the session is over, its refresh token and its access tokens with it."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import hdrs, web
from msgspec import Struct

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.identity.sessions import Ending, Sessions
from auth_service.model.session import EndReason
from shared.bearer import InvalidToken
from shared.errors import ContentTooLarge, InvalidRequest, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE, read_model


class LogoutRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The session named by its refresh token, where no access token is sent."""

    refresh_token: str


class LogoutEndpoint:
    """Ends the session of the credential that is sent; one that is over already is no error (RFC 7009 section 2.2)."""

    def __init__(self, sessions: Sessions, bearer: FirstPartyBearer, caller: CallerReader) -> None:
        self._sessions = sessions
        self._bearer = bearer
        self._caller = caller

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/logout", self.post)]

    @describe(
        Operation(
            summary="End the session of the access token, or of the refresh token in the body.",
            body=LogoutRequest,
            body_required=False,
            answers={204: Answer("The session is over.")},
            errors=(InvalidRequest, InvalidToken, ContentTooLarge, UnsupportedMediaType, Unavailable),
            scopes=(),
            token_required=False,
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        caller = self._caller.read(request)
        if hdrs.AUTHORIZATION in request.headers:
            token = self._bearer.read(request)
            await self._sessions.end(token.sid, Ending(EndReason.LOGOUT, token.sub, caller), of=token.sub)
        elif request.can_read_body:
            body = await read_model(request, LogoutRequest)
            await self._sessions.end_by_token(body.refresh_token, caller)
        else:
            raise InvalidRequest("Send the access token in Authorization, or the refresh token in a JSON body.")
        return web.Response(status=204, headers=NO_STORE)
