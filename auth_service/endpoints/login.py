"""`POST /login`: credentials in, a session's first tokens out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.device_cookie import DeviceCookie
from auth_service.endpoints.token_answer import TokenAnswer, token_response
from auth_service.identity.accounts import Credentials
from auth_service.oauth.errors import InvalidScope
from auth_service.tokens.sign_in import InvalidCredentials, SignIn
from shared.errors import ContentTooLarge, InvalidRequest, TooManyRequests, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import read_model


class LoginRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The credentials, and optionally a narrower scope than all of the default resource."""

    username: str
    password: str
    scope: Annotated[str | None, Meta(description="Scopes separated by single spaces.")] = None


class LoginEndpoint:
    """Signs a user in with a password; unknown and known names are answered alike, in text and in time."""

    def __init__(self, sign_in: SignIn, caller: CallerReader, devices: DeviceCookie) -> None:
        self._sign_in = sign_in
        self._caller = caller
        self._devices = devices

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/login", self.post)]

    @describe(
        Operation(
            summary="Sign in with a user name and a password.",
            body=LoginRequest,
            answers={200: Answer("Signed in.", TokenAnswer, headers={"Set-Cookie": "Makes this device known."})},
            errors=(
                InvalidRequest,
                InvalidScope,
                InvalidCredentials,
                ContentTooLarge,
                UnsupportedMediaType,
                TooManyRequests,
                Unavailable,
            ),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        presented = await read_model(request, LoginRequest)
        credentials = Credentials(presented.username, presented.password, self._devices.read(request))
        signed_in = await self._sign_in.with_password(credentials, presented.scope, self._caller.read(request))
        response = token_response(signed_in.tokens)
        self._devices.write(response, signed_in.devices)
        return response
