"""Tokens of an OAuth server that is not ours, accepted by configuration alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession

from resource_service.app import open_resource_service
from resource_service.settings import ResourceSettings
from tests.contract.foreign_issuer import AUDIENCE, OPENID, PASSWORD, RFC8414, USERNAME, ForeignIssuer
from tests.wire import serve

READY_SECONDS = 20
USER = {"grant_type": "password", "username": USERNAME, "password": PASSWORD}
CLIENT = {"grant_type": "client_credentials"}
PLAIN = {"RESOURCE_TOKEN_PROFILE": "plain-jwt", "RESOURCE_MAX_TOKEN_SECONDS": "3600"}


class Api:
    """The resource service, trusting a foreign issuer."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def status(self, token: str, method: str = "GET", path: str = "/userData") -> int:
        headers = {"Authorization": f"Bearer {token}"}
        body = 1 if method == "PUT" else None
        async with self._http.request(method, self._url + path, headers=headers, json=body) as answer:
            return answer.status

    async def wait_until_ready(self) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                async with self._http.get(f"{self._url}/readyz") as answer:
                    if answer.status == 200:
                        return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def api(folder: Path, issuer: ForeignIssuer, settings: Mapping[str, str]) -> AsyncIterator[Api]:
    environment = {
        "RESOURCE_IDENTIFIER": AUDIENCE,
        "RESOURCE_ISSUER": issuer.url,
        "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/resource.sqlite3",
        **settings,
    }
    async with (
        open_resource_service(ResourceSettings.load(environment)) as service,
        serve(service.app) as port,
        ClientSession() as http,
    ):
        running = Api(http, f"http://127.0.0.1:{port}")
        await running.wait_until_ready()
        yield running


@pytest.mark.parametrize("metadata_path", [RFC8414, OPENID])
@pytest.mark.parametrize("grant", [USER, CLIENT], ids=["user", "client"])
async def test_authlibs_rfc9068_tokens_are_accepted(tmp_path: Path, metadata_path: str, grant: dict[str, str]) -> None:
    """An issuer's URL is all the configuration: its keys are found through RFC 8414 or OpenID metadata."""
    async with ForeignIssuer(rfc9068=True, metadata_path=metadata_path).running() as issuer:
        token = await issuer.token(**grant)
        assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
        async with api(tmp_path, issuer, {}) as resource:
            assert await resource.status(token) == 200
            assert await resource.status(token, "PUT", "/userData/name") == 403
            both = await issuer.token(**grant, scope="data:read data:write")
            assert await resource.status(both, "PUT", "/userData/name") == 201


async def test_authlibs_plain_tokens_want_the_profile(tmp_path: Path) -> None:
    """A JWT that does not say that it is an access token is refused by default, and accepted under `plain-jwt`."""
    async with ForeignIssuer(rfc9068=False, metadata_path=OPENID).running() as issuer:
        token = await issuer.token(**USER)
        assert jwt.get_unverified_header(token).get("typ") != "at+jwt"
        (tmp_path / "strict").mkdir(mode=0o700)
        (tmp_path / "plain").mkdir(mode=0o700)
        async with api(tmp_path / "strict", issuer, {"RESOURCE_MAX_TOKEN_SECONDS": "3600"}) as strict:
            assert await strict.status(token) == 401
        async with api(tmp_path / "plain", issuer, PLAIN) as plain:
            assert await plain.status(token) == 200
            assert await plain.status(token, "PUT", "/userData/name") == 403


async def test_another_servers_token_of_the_same_kind_is_refused(tmp_path: Path) -> None:
    """Trust goes to an issuer, not to a kind of server: the same software with other keys is a stranger."""
    strangers = ForeignIssuer(rfc9068=True, metadata_path=RFC8414)
    trusted_issuer = ForeignIssuer(rfc9068=True, metadata_path=RFC8414)
    async with trusted_issuer.running(), strangers.running(), api(tmp_path, trusted_issuer, {}) as resource:
        assert await resource.status(await strangers.token(**USER)) == 401
        assert await resource.status(await trusted_issuer.token(**USER)) == 200
