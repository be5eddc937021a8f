"""`/set-password`: the page that a password link leads to.

Looking at it changes nothing, so mail scanners that follow links do no harm. The token in the link is the only
credential: no cookie is looked at for it, and whoever does not have it cannot make a browser send it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.client_form import FORM, read_form
from auth_service.endpoints.device_cookie import DeviceCookie
from auth_service.identity.accounts import WeakPassword
from auth_service.identity.password_links import LinkUse, PasswordLinks
from auth_service.identity.password_policy import MIN_CHARACTERS
from auth_service.model.password_link import LinkToken
from auth_service.pages.renderer import HTML, PageRenderer, asks_for_page
from shared.errors import ContentTooLarge, InvalidRequest, ServiceError, Unavailable, UnsupportedMediaType
from shared.openapi import Answer, Operation, describe
from shared.web import NO_STORE

PATH = "/set-password"
MAX_BYTES = 32_768
"""Two passwords of 1,024 characters take up to 24 KiB in a form."""
OWN_SITE = ("same-origin", "none")
PAGE = {"type": "string"}


class CrossSiteForm(ServiceError):
    """The form was not sent from our own page (Fetch Metadata, `Sec-Fetch-Site`)."""

    status = 403
    code = "cross_site_form"


class PasswordsDiffer(ServiceError):
    """The password was typed twice, and not alike."""

    status = 400
    code = "passwords_differ"


class SetPasswordForm(Struct, frozen=True):
    """The form, for the interface's description."""

    token: Annotated[str, Meta(description="The token of the link.")]
    new_password: Annotated[str, Meta(description="8 to 1024 characters, any Unicode, taken exactly as sent.")]
    repeated_password: Annotated[str, Meta(description="The same.")]


def password_link(issuer: str, token: LinkToken) -> str:
    """The address that an account's owner opens."""
    return f"{issuer}{PATH}?token={token.clear_text}"


class SetPasswordEndpoint:
    """Shows the page and sets the password. A link that is unknown, used, replaced or expired is answered alike."""

    def __init__(self, links: PasswordLinks, pages: PageRenderer, caller: CallerReader, devices: DeviceCookie) -> None:
        self._links = links
        self._pages = pages
        self._caller = caller
        self._devices = devices

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(PATH, self.get), web.post(PATH, self.post), web.get(f"{PATH}/done", self.done)]

    @describe(
        Operation(
            summary="The page on which an account's owner chooses a password.",
            parameters={"?token": {"type": "string", "description": "The token of the link."}},
            answers={
                200: Answer("The page.", PAGE, HTML),
                404: Answer("A page: the link does not work.", PAGE, HTML),
            },
            errors=(Unavailable,),
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        try:
            return await self._form(request.query.get("token", ""))
        except ServiceError as error:
            return await self._refusal(request, error)

    @describe(
        Operation(
            summary="Set the password; every session of the account ends.",
            body=SetPasswordForm,
            body_media_type=FORM,
            answers={
                303: Answer(
                    "The password is set.",
                    headers={"Location": "A page that says so.", "Set-Cookie": "Makes this device known."},
                ),
                400: Answer("The page again, with the reason.", PAGE, HTML),
                404: Answer("A page: the link does not work.", PAGE, HTML),
            },
            errors=(InvalidRequest, CrossSiteForm, ContentTooLarge, UnsupportedMediaType, Unavailable),
        )
    )
    async def post(self, request: web.Request) -> web.Response:
        try:
            return await self._set(request)
        except ServiceError as error:
            return await self._refusal(request, error)

    @describe(Operation(summary="The page that says it is done.", answers={200: Answer("The page.", PAGE, HTML)}))
    async def done(self, _request: web.Request) -> web.Response:
        return await self._pages.page("password_set.html")

    async def _set(self, request: web.Request) -> web.Response:
        if request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITE:
            raise CrossSiteForm("The form must be sent from the page that the link leads to.")
        form = await read_form(request, max_bytes=MAX_BYTES)
        token, new_password = form.get("token", ""), form.get("new_password", "")
        try:
            if new_password != form.get("repeated_password", ""):
                raise PasswordsDiffer("The two passwords are not the same.")
            use = LinkUse(token, new_password, self._devices.read(request))
            proof = await self._links.use(use, self._caller.read(request))
        except (PasswordsDiffer, WeakPassword) as error:
            return await self._form(token, error)
        if proof is None:
            return await self._void()
        # 303: the browser asks for the next page without the form. The address is relative because it knows its own.
        response = web.Response(status=303, headers={**NO_STORE, "Location": f"{PATH.lstrip('/')}/done"})
        self._devices.write(response, proof.devices)
        return response

    async def _form(self, token: str, error: ServiceError | None = None) -> web.Response:
        owner = await self._links.owner(token)
        if owner is None:
            return await self._void()
        values = {
            "token": token,
            "username": owner.username,
            "is_first": owner.password_hash is None,
            "shortest": MIN_CHARACTERS,
            "problem": None if error is None else error.description,
        }
        return await self._pages.page("set_password.html", values, status=200 if error is None else error.status)

    async def _void(self) -> web.Response:
        return await self._pages.page("link_void.html", status=404)

    async def _refusal(self, request: web.Request, error: ServiceError) -> web.Response:
        if not asks_for_page(request):
            raise error
        return await self._pages.refusal(error)
