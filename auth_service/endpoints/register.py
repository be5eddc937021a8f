"""`POST /register`: create an account."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.caller import CallerReader
from auth_service.identity.accounts import Accounts, Registration, UsernameTaken, WeakPassword
from shared.errors import (
    ContentTooLarge,
    InvalidRequest,
    ServiceError,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE, json_response, read_model

MAX_EMAIL_CHARACTERS = 254
"""The longest address that fits in SMTP's path (RFC 5321 section 4.5.3.1.3)."""


class RegistrationClosed(ServiceError):
    """Accounts are made by an operator here."""

    status = 403
    code = "registration_closed"


class RegisterRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a new account is made of."""

    username: Annotated[str, Meta(description="1 to 64 characters; spellings that look alike are one name (PRECIS).")]
    password: Annotated[str, Meta(description="8 to 1024 characters, any Unicode, taken exactly as sent.")]
    email: Annotated[str, Meta(max_length=MAX_EMAIL_CHARACTERS, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class RegisterAnswer(Struct, frozen=True):
    """The new account: `sub` is its identifier in every token, for ever."""

    sub: str
    username: str


class RegisterEndpoint:
    """Creates accounts while registration is open."""

    def __init__(self, accounts: Accounts, caller: CallerReader, *, is_open: bool) -> None:
        self._accounts = accounts
        self._caller = caller
        self._is_open = is_open

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/register", self.post)]

    @describe(
        Operation(
            summary="Create an account.",
            body=RegisterRequest,
            answers={201: Answer("The account is there.", RegisterAnswer)},
            errors=(
                InvalidRequest,
                WeakPassword,
                RegistrationClosed,
                UsernameTaken,
                ContentTooLarge,
                UnsupportedMediaType,
                TooManyRequests,
                Unavailable,
            ),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        if not self._is_open:
            raise RegistrationClosed("Accounts are made by an operator here.")
        wanted = await read_model(request, RegisterRequest)
        account = await self._accounts.register(
            Registration(wanted.username, wanted.password, wanted.email, wanted.name), self._caller.read(request)
        )
        return json_response({"sub": account.sub, "username": account.username}, status=201, headers=NO_STORE)
