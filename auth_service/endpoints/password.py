"""`POST /password`: the signed-in user's own password, changed; every other session of the account ends."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from msgspec import Struct

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.device_cookie import DeviceCookie
from auth_service.identity.accounts import Accounts, PasswordChange, WeakPassword
from shared.bearer import InvalidToken, MissingCredentials
from shared.errors import (
    ContentTooLarge,
    InvalidRequest,
    ServiceError,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE, read_model


class WrongPassword(ServiceError):
    """The present password in the body is not the one in force.

    Not 401: clients take that for an expired token and drop a session that is good (decision 7).
    """

    status = 400
    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__("The present password is wrong.")


class PasswordRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The password in force and the one to follow."""

    current_password: str
    new_password: str


class PasswordEndpoint:
    """Changes a password for who proves the present one."""

    def __init__(
        self, accounts: Accounts, bearer: FirstPartyBearer, caller: CallerReader, devices: DeviceCookie
    ) -> None:
        self._accounts = accounts
        self._bearer = bearer
        self._caller = caller
        self._devices = devices

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/password", self.post)]

    @describe(
        Operation(
            summary="Change the password; every other session of the account ends.",
            body=PasswordRequest,
            answers={204: Answer("The password is changed.")},
            errors=(
                InvalidRequest,
                WeakPassword,
                WrongPassword,
                InvalidToken,
                MissingCredentials,
                ContentTooLarge,
                UnsupportedMediaType,
                TooManyRequests,
                Unavailable,
            ),
            scopes=(),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        session = await self._bearer.live_session(request)
        wanted = await read_model(request, PasswordRequest)
        change = PasswordChange(
            session.sub, session.sid, wanted.current_password, wanted.new_password, self._devices.read(request)
        )
        proof = await self._accounts.change_password(change, self._caller.read(request))
        if proof is None:
            # A session that was ended while the password was hashed is answered like one that was ended before.
            await self._bearer.live_session(request)
            raise WrongPassword
        response = web.Response(status=204, headers=NO_STORE)
        # A change of password makes strangers of all devices; this one has just proved not to be one.
        self._devices.write(response, proof.devices)
        return response
