"""`GET /sessions`, `DELETE /sessions/{sid}`: the signed-in user's own sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.identity.sessions import Ending, Sessions
from auth_service.model.session import EndReason, Session
from shared.bearer import InvalidToken, MalformedCredentials, MissingCredentials
from shared.errors import NotFound, Unavailable
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE, json_response


class SessionAnswer(Struct, frozen=True):
    """One session. Times are seconds since the epoch."""

    sid: str
    client_id: str
    scope: str
    opened_at: int
    last_used_at: int
    expires_at: Annotated[int, Meta(description="When it ends if it is not used before, or for good.")]
    address: Annotated[str | None, Meta(description="Where it was opened from.")]
    user_agent: str | None
    current: Annotated[bool, Meta(description="Whether this very request belongs to it.")]


class SessionsAnswer(Struct, frozen=True):
    """All sessions that go on, the one used last first."""

    sessions: list[SessionAnswer]


class SessionsEndpoint:
    """Shows a user where the account is signed in, and ends what should not be."""

    def __init__(self, sessions: Sessions, bearer: FirstPartyBearer, caller: CallerReader) -> None:
        self._sessions = sessions
        self._bearer = bearer
        self._caller = caller

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/sessions", self.get), web.delete("/sessions/{sid}", self.delete)]

    @describe(
        Operation(
            summary="The account's sessions.",
            answers={200: Answer("The sessions that go on.", SessionsAnswer)},
            errors=(MalformedCredentials, InvalidToken, MissingCredentials, Unavailable),
            scopes=(),
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        current = await self._bearer.live_session(request)
        sessions = await self._sessions.live_of(current.sub)
        return json_response({"sessions": [_shown(session, current) for session in sessions]}, headers=NO_STORE)

    @describe(
        Operation(
            summary="End one of the account's sessions.",
            answers={204: Answer("The session is over.")},
            errors=(MalformedCredentials, InvalidToken, MissingCredentials, NotFound, Unavailable),
            scopes=(),
            parameters={"sid": {"type": "string"}},
        )
    )
    async def delete(self, request: web.Request) -> web.Response:
        current = await self._bearer.live_session(request)
        ending = Ending(EndReason.ENDED_BY_USER, current.sub, self._caller.read(request))
        if not await self._sessions.end(request.match_info["sid"], ending, of=current.sub):
            raise NotFound("There is no such session.")
        return web.Response(status=204, headers=NO_STORE)


def _shown(session: Session, current: Session) -> dict[str, object]:
    return {
        "sid": session.sid,
        "client_id": session.grant.client_id,
        "scope": str(session.grant.scope),
        "opened_at": int(session.opened_at),
        "last_used_at": int(session.last_used_at),
        "expires_at": int(session.idle_expires_at),
        "address": session.opened_from.address,
        "user_agent": session.opened_from.user_agent,
        "current": session.sid == current.sid,
    }
