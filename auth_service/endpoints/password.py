"""`POST /password`: the signed-in user's own password, changed; every other session of the account ends."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from msgspec import Struct

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.device_cookie import DeviceCookie
from auth_service.identity.accounts import Accounts, PasswordChange, WeakPassword
from auth_service.tokens.sign_in import InvalidCredentials
from shared.bearer import InvalidToken, MissingCredentials
from shared.errors import ContentTooLarge, InvalidRequest, TooManyRequests, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE, read_model


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
                InvalidCredentials,
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
            raise InvalidCredentials
        response = web.Response(status=204, headers=NO_STORE)
        # A change of password makes strangers of all devices; this one has just proved not to be one.
        self._devices.write(response, proof.devices)
        return response
