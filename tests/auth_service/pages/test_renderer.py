"""Rendering: what is escaped, what is missing, and what a start does not pay for."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import product

import jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from auth_service.pages.renderer import STYLE, PageRenderer, asks_for_page
from shared.errors import Unavailable
from tests.architecture.tree import ROOT

FORM: Mapping[str, object] = {
    "token": "signet_link_x",
    "username": "ada",
    "is_first": False,
    "shortest": 8,
    "problem": None,
}
TEXT_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3; what only outlines a field needs less (1.4.11)."""
LINE_CONTRAST = 3.0


def text_of(response: web.Response) -> str:
    assert isinstance(response.text, str)
    return response.text


@pytest.mark.parametrize("name", ["token", "username", "problem", "shortest"])
async def test_every_value_is_escaped(name: str) -> None:
    """No value becomes markup, wherever it stands."""
    value = "<i>\"'&"
    text = text_of(await PageRenderer().page("set_password.html", {**FORM, name: value}))
    assert "<i>" not in text
    assert "&lt;i&gt;&#34;&#39;&amp;" in text


@pytest.mark.parametrize("name", list(FORM))
async def test_a_value_that_is_missing_is_an_error(name: str) -> None:
    """And no empty place on a page."""
    values = {key: value for key, value in FORM.items() if key != name}
    with pytest.raises(jinja2.UndefinedError):
        await PageRenderer().page("set_password.html", values)


async def test_the_style_is_allowed_by_its_hash_and_nothing_else_is() -> None:
    """What a browser computes over the element is what the header says (CSP 3 section 2.3.1)."""
    response = await PageRenderer().page("password_set.html")
    (style,) = re.findall(r"<style>(.*?)</style>", text_of(response), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert {"default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} < set(policy)
    assert "unsafe" not in " ".join(policy)


async def test_a_refusal_keeps_its_status_and_its_headers() -> None:
    """503 with Retry-After, and the reason for people."""
    response = await PageRenderer().refusal(Unavailable("Too busy.", retry_after=7))
    assert (response.status, response.headers["Retry-After"]) == (503, "7")
    assert "Too busy." in text_of(response)


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, TEXT/HTML;q=0.5", True),
        ("*/*", False),
        ("application/json", False),
        ("text/*", False),
        ("text/htmlx", False),
        ("", False),
    ],
)
def test_a_page_is_for_who_asks_for_one(accept: str, asked: bool) -> None:
    """Browsers name the type; what names none is a program."""
    assert asks_for_page(make_mocked_request("GET", "/", headers={"Accept": accept})) is asked
    assert not asks_for_page(make_mocked_request("GET", "/"))


def test_a_start_does_not_read_templates() -> None:
    """Jinja2 is imported with the first page."""
    program = "import sys, auth_service.app; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def palettes() -> list[dict[str, str]]:
    """The colours by name, in light and in dark."""
    return [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    ]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_everybody_can_read_it() -> None:
    """Text on what it stands on, and the outlines of fields, in light and in dark."""
    light, dark = palettes()
    assert light.keys() == dark.keys()
    texts = [*product(["ink", "soft"], ["sheet", "quiet"]), ("on-accent", "accent"), ("problem", "problem-ground")]
    lines = [("line", "sheet"), ("accent", "sheet"), ("problem", "sheet")]
    for palette in (light, dark):
        for least, pairs in ((TEXT_CONTRAST, texts), (LINE_CONTRAST, lines)):
            for one, other in pairs:
                assert contrast(palette[one], palette[other]) >= least, (one, other)
