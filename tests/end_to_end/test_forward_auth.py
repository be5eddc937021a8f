"""Debian's nginx with the configuration of docs/forward-auth.md, in front of a backend that knows nothing of tokens."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from resource_service.app import open_resource_service
from resource_service.settings import ResourceSettings
from shared.clock import SystemClock
from tests.end_to_end.deployment import free_ports
from tests.engines import require_engine
from tests.issuer import LocalIssuer
from tests.wire import serve

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "forward-auth.md"
IDENTIFIER = "https://api.example"
START_SECONDS = 60


class Proxied:
    """What a client sees through the proxy, and what the backend saw of its requests."""

    def __init__(self, port: int, issuer: LocalIssuer, seen: list[dict[str, str]], http: aiohttp.ClientSession) -> None:
        self.port = port
        self.issuer = issuer
        self.seen = seen
        self.http = http

    async def get(self, **headers: str) -> aiohttp.ClientResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(f"http://127.0.0.1:{self.port}/page", headers=fields)

    def bearer(self, subject: str, **changes: Any) -> str:
        return "Bearer " + self.issuer.token(subject, audience=IDENTIFIER, **changes)


def configuration(folder: Path, listen: int, verify: str, backend: int) -> Path:
    """The document's server, with this test's ports, in a configuration that keeps all its files in `folder`."""
    (server,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    for documented, ours in (
        ("listen 8080;", f"listen 127.0.0.1:{listen};"),
        ("http://127.0.0.1:8002/verify", verify),
        ("http://127.0.0.1:9000", f"http://127.0.0.1:{backend}"),
    ):
        assert documented in server
        server = server.replace(documented, ours)
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    head = f"pid {folder}/nginx.pid;\nerror_log stderr warn;\ndaemon off;\nmaster_process off;\nevents {{}}\n"
    file.write_text(f"{head}http {{\naccess_log off;\n{folders}{server}}}\n", encoding="utf-8")
    return file


@pytest.fixture(params=["/verify", "/verify/reports"])
async def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Proxied]:
    """nginx before a backend that echoes what it was sent, asking the real resource service."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    require_engine("nginx", nginx is not None)
    assert nginx is not None
    seen: list[dict[str, str]] = []

    async def echo(backend_request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in backend_request.headers.items()})
        return web.Response(text="the page")

    backend_app = web.Application()
    backend_app.router.add_get("/page", echo)
    issuer = LocalIssuer(SystemClock())
    (listen,) = free_ports(1)
    async with issuer.running(), TestServer(backend_app) as backend:
        settings = ResourceSettings.load(
            {
                "RESOURCE_IDENTIFIER": IDENTIFIER,
                "RESOURCE_ISSUER": issuer.url,
                "RESOURCE_DATABASE_URL": f"sqlite:///{tmp_path}/resource.sqlite3",
                "RESOURCE_FORWARD_AUTH": '{"reports": ["data:read"]}',
            }
        )
        async with open_resource_service(settings) as service, serve(service.app) as port:
            assert backend.port is not None
            file = configuration(tmp_path, listen, f"http://127.0.0.1:{port}{request.param}", backend.port)
            process = await asyncio.create_subprocess_exec(nginx, "-p", str(tmp_path), "-c", str(file))
            try:
                async with aiohttp.ClientSession() as http:
                    proxy = Proxied(listen, issuer, seen, http)
                    await until_it_answers(proxy)
                    yield proxy
            finally:
                process.terminate()
                await process.wait()


async def until_it_answers(proxy: Proxied) -> None:
    """Return once a good token gets through: nginx listens and the keys are there."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                if (await proxy.get(Authorization=proxy.bearer("first"))).status == 200:
                    proxy.seen.clear()
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


async def test_the_backend_learns_who_it_is_and_never_the_token(proxied: Proxied) -> None:
    """A good token gets through; the backend sees the identity and no Authorization."""
    answer = await proxied.get(Authorization=proxied.bearer("ann"))
    assert (answer.status, await answer.text()) == (200, "the page")
    (request,) = proxied.seen
    assert request["x-auth-subject"] == "ann"
    assert request["x-auth-issuer"] == proxied.issuer.url
    assert "authorization" not in request


async def test_a_client_cannot_send_an_identity(proxied: Proxied) -> None:
    """Every identity header that a client sends is overwritten, also those that its token does not fill."""
    names = ("Subject", "Issuer", "Client", "Session", "Username", "Email")
    forged = {f"X_Auth_{name}": "root" for name in names}
    await proxied.get(Authorization=proxied.bearer("ann"), **forged)
    (request,) = proxied.seen
    assert request["x-auth-subject"] == "ann"
    assert "root" not in request.values()


async def test_refusals_keep_their_challenge_and_their_status(proxied: Proxied) -> None:
    """401 without a token and with a bad one, each with the challenge; the backend sees none of them."""
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer"}):
        answer = await proxied.get(**headers)
        assert answer.status == 401
        assert "resource_metadata=" in answer.headers["WWW-Authenticate"]
    assert proxied.seen == []


@pytest.mark.parametrize("proxied", ["/verify/reports"], indirect=True)
async def test_a_missing_scope_is_a_403_with_its_challenge(proxied: Proxied) -> None:
    """The client learns through the proxy which scope to ask for."""
    answer = await proxied.get(Authorization=proxied.bearer("ann", scope="other"))
    assert answer.status == 403
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert proxied.seen == []
