"""docs/protecting-your-service.md, built from its own text and asked over HTTP."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from shared.access_token import AccessToken, encode
from shared.clock import SystemClock
from shared.scope import Scope
from tests.protocol.minting import signing_key

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "protecting-your-service.md"
AUDIENCE = "https://reports.example"


def code_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_every_block_of_the_document_runs() -> None:
    """No example of the document has gone stale."""
    blocks = code_blocks()
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        exec(compile(block, f"{DOCUMENT.name}[{number}]", "exec"), {"__name__": "document"})  # noqa: S102 - our own text


@pytest.fixture
async def issuer() -> TestServer:
    """An issuer that publishes metadata and one key."""
    server: TestServer

    async def metadata(_request: web.Request) -> web.Response:
        address = str(server.make_url("")).rstrip("/")
        return web.json_response({"issuer": address, "jwks_uri": f"{address}/jwks"})

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response({"keys": [signing_key().public_jwk.as_json_object()]})

    app = web.Application()
    app.router.add_get("/.well-known/oauth-authorization-server", metadata)
    app.router.add_get("/jwks", jwks)
    server = TestServer(app)
    await server.start_server()
    return server


def token(issuer_url: str, scope: str, *, acr: str = "1", auth_age: int = 0) -> dict[str, str]:
    now = int(SystemClock().now())
    access_token = AccessToken(
        issuer=issuer_url,
        subject="user-1",
        audience=AUDIENCE,
        client_id="client-1",
        issued_at=now,
        expires_at=now + 300,
        token_id="token-1",
        scope=Scope.parse(scope),
        auth_time=now - auth_age,
        acr=acr,
    )
    return {"Authorization": f"Bearer {encode(access_token, signing_key())}"}


async def test_the_documents_application_is_closed_as_it_says(issuer: TestServer) -> None:
    """The application built from the document's text opens and closes each route as the document says."""
    module = types.ModuleType("document")
    exec(compile(code_blocks()[0], DOCUMENT.name, "exec"), module.__dict__)  # noqa: S102 - our own text
    issuer_url = str(issuer.make_url("")).rstrip("/")
    try:
        async with TestClient(TestServer(module.create_app(issuer_url))) as client:
            assert (await client.get("/hello")).status == 200

            refused = await client.get("/whoami")
            assert refused.status == 401
            assert "resource_metadata=" in refused.headers["WWW-Authenticate"]

            answer = await client.get("/whoami", headers=token(issuer_url, "other"))
            deadline = SystemClock().monotonic() + 5
            while answer.status == 503 and SystemClock().monotonic() < deadline:
                await SystemClock().sleep(0.05)
                answer = await client.get("/whoami", headers=token(issuer_url, "other"))
            assert (answer.status, await answer.json()) == (200, {"sub": "user-1"})

            narrow = await client.get("/reports", headers=token(issuer_url, "other"))
            assert narrow.status == 403
            assert 'scope="reports:read"' in narrow.headers["WWW-Authenticate"]
            wide = await client.get("/reports", headers=token(issuer_url, "reports:read"))
            assert await wide.json() == {"reports_of": "user-1", "issued_by": issuer_url}

            weak = await client.post("/reports", headers=token(issuer_url, "reports:write"))
            assert weak.status == 401
            assert 'error="insufficient_user_authentication"' in weak.headers["WWW-Authenticate"]
            old = await client.post("/reports", headers=token(issuer_url, "reports:write", acr="2", auth_age=700))
            assert old.status == 401
            strong = await client.post("/reports", headers=token(issuer_url, "reports:write", acr="2"))
            assert strong.status == 204

            document = await client.get("/.well-known/oauth-protected-resource")
            assert (await document.json())["resource"] == AUDIENCE
    finally:
        await issuer.close()
