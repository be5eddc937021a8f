"""Renders pages: Jinja2, every value escaped, a value that is missing an error."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from shared.errors import ServiceError
from shared.web import NO_STORE

if TYPE_CHECKING:  # imported when the first page is asked for: a start without one need not pay for it
    from jinja2 import Environment

HTML = "text/html"
FOLDER = Path(__file__).parent
STYLE = FOLDER / "style.css"
TEMPLATES = FOLDER / "templates"


class PageRenderer:
    """Makes answers of templates; the templates are read with the first one, and not on the loop's thread."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    async def page(
        self,
        template: str,
        values: Mapping[str, object] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """The page `template` with `values`; never to be stored, framed, or to load anything."""
        loaded = self._loaded
        if loaded is None:
            loaded = self._loaded = await asyncio.to_thread(_load)
        text = loaded.environment.get_template(template).render(values or {})
        return web.Response(text=text, status=status, headers={**loaded.headers, **(headers or {})}, content_type=HTML)

    async def refusal(self, error: ServiceError) -> web.Response:
        """A refusal as a page, with the headers that it carries."""
        return await self.page(
            "refusal.html", {"reason": error.description}, status=error.status, headers=error.headers
        )


def asks_for_page(request: web.Request) -> bool:
    """Whether the answer is for a browser's window: a program that names no type gets JSON."""
    accepted = request.headers.get("Accept", "").lower().split(",")
    return any(kind.partition(";")[0].strip() == HTML for kind in accepted)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All templates, compiled, and the headers of every page."""

    environment: Environment
    headers: Mapping[str, str]


def _load() -> _Loaded:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = STYLE.read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # noqa: S704 - ours, and a value is never put into it
    for name in environment.list_templates():
        environment.get_template(name)
    return _Loaded(environment, _headers(style))


def _headers(style: str) -> Mapping[str, str]:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {**NO_STORE, "Content-Security-Policy": "; ".join(policy), "X-Frame-Options": "DENY"}
