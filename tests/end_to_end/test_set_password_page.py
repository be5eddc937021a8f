"""A password link from the operator's command to the owner's browser, without JavaScript, on a desk and on a phone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, ViewportSize, expect

from tests.auth_service.process import Serving, run, serving
from tests.end_to_end.browser import running_chromium
from tests.end_to_end.http import call

PASSWORD = "correct horse battery"
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
WAYS = [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")]


class Owner:
    """Somebody who gets a link, and a browser: what it sent as `Referer`, asked for elsewhere, and complained of."""

    def __init__(self, service: Serving, page: Page) -> None:
        self.service = service
        self.page = page
        self.referrers: list[str] = []
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def link(self, *command: str) -> str:
        """What the operator's command prints."""
        arguments = ("users", *command, "--link", "--json")
        shown = await asyncio.to_thread(run, self.service.folder, *arguments, PORT=str(self.service.port))
        assert shown.returncode == 0, shown.stderr
        (row,) = json.loads(shown.stdout)
        link: str = row["link"]
        return link

    async def fill(self, password: str, repeated: str | None = None) -> None:
        await self.page.get_by_label("New password").fill(password)
        await self.page.get_by_label("The same once more").fill(password if repeated is None else repeated)
        await self.page.get_by_role("button", name="Set the password").click()

    async def fits(self) -> None:
        """Nothing reaches beyond the window's width, and fields and buttons are large enough for a thumb."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0
        for shown in await self.page.locator("input:visible, button").all():
            box = await shown.bounding_box()
            assert box is not None
            assert box["height"] >= 44

    async def paste_into_the_field(self) -> None:
        """A password manager, or a person, pastes."""
        field = self.page.get_by_label("New password")
        await self.page.get_by_label("Account").press("Control+a")
        await self.page.keyboard.press("Control+c")
        await field.press("Control+v")
        await expect(field).to_have_value("ada")

    def signs_in(self, password: str) -> bool:
        content = {"username": "ada", "password": password}
        return call("POST", f"http://127.0.0.1:{self.service.port}/login", content=content).status == 200

    def _note(self, request: Request) -> None:
        if "referer" in request.headers:
            self.referrers.append(request.headers["referer"])
        if not request.url.startswith(f"http://localhost:{self.service.port}/set-password"):
            self.foreign.append(request.url)

    def _listen(self, message: ConsoleMessage) -> None:
        # That an answer is a refusal it says, too; that is none of its own.
        if "the server responded with a status of" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium() as running:
        yield running


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]['width']} {way[1]}")
async def owner(request: pytest.FixtureRequest, service: Serving, browser: Browser) -> AsyncIterator[Owner]:
    """The owner's browser, of either width and in either light; at the end it has looked nowhere else."""
    viewport: ViewportSize = request.param[0]
    scheme: Literal["light", "dark"] = request.param[1]
    context = await browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=False)
    owner = Owner(service, await context.new_page())
    yield owner
    assert (owner.referrers, owner.foreign, owner.complaints) == ([], [], [])
    await context.close()


async def test_an_invited_owner_chooses_a_password(owner: Owner) -> None:
    """From `users add --link` to signing in: a weak one and a mistyped one are told beside the field, nothing is lost
    by them, and the link works once."""
    link = await owner.link("add", "ada")
    page = owner.page
    await page.goto(link)
    await expect(page.get_by_role("heading")).to_have_text("Choose a password")
    await expect(page.get_by_label("Account")).to_have_value("ada")
    field = page.get_by_label("New password")
    await expect(field).to_have_accessible_description(re.compile("^At least 8 characters"))
    await owner.paste_into_the_field()
    await owner.fits()

    await owner.fill("password1")
    alert = page.get_by_role("alert")
    await expect(alert).to_have_text("The password is one of the most common ones, or little more than that.")
    await expect(field).to_have_accessible_description(re.compile("^The password is one of .* At least 8 characters"))
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")
    await owner.fits()
    await owner.fill(PASSWORD, "correct horse batterie")
    await expect(page.get_by_role("alert")).to_have_text("The two passwords are not the same.")

    await owner.fill(PASSWORD)
    await expect(page.get_by_role("heading")).to_have_text("The password is set")
    assert "signet_link" not in page.url
    await owner.fits()
    assert await asyncio.to_thread(owner.signs_in, PASSWORD)

    await page.goto(link)
    await expect(page.get_by_role("heading")).to_have_text("This link does not work")
    await owner.fits()
