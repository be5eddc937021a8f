"""The resource service as tests use it: whole, over HTTP, with an issuer of the tests' own and a frozen clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, ClientSession
from yarl import URL

from resource_service.app import open_resource_service
from resource_service.settings import ResourceSettings
from tests.blocking import nothing_blocks
from tests.clock import FrozenClock
from tests.issuer import LocalIssuer
from tests.wire import serve

IDENTIFIER = "https://api.example"
READY_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token."""

    service: RunningResourceService
    token: str

    async def request(self, method: str, path: str, **options: Any) -> ClientResponse:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return await self.service.request(method, path, headers=headers, **options)

    async def get(self, path: str = "/userData", **headers: str) -> ClientResponse:
        return await self.request("GET", path, headers=_fields(headers))

    async def delete(self, path: str, **headers: str) -> ClientResponse:
        return await self.request("DELETE", path, headers=_fields(headers))

    async def put(self, path: str, value: bytes, **headers: str) -> ClientResponse:
        fields = {"Content-Type": "application/json", **_fields(headers)}
        return await self.request("PUT", path, headers=fields, data=value)


@dataclass(frozen=True, slots=True)
class RunningResourceService:
    """One that answers, and the issuer that it trusts."""

    http: ClientSession
    port: int
    metrics_port: int
    issuer: LocalIssuer
    clock: FrozenClock

    async def request(self, method: str, path: str, **options: Any) -> ClientResponse:
        """One request, its path sent exactly as it stands; redirects are not followed."""
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        return await self.http.request(method, url, allow_redirects=False, **options)

    async def get(self, path: str, **headers: str) -> ClientResponse:
        """Without a token."""
        return await self.request("GET", path, headers=_fields(headers))

    async def wait_until_ready(self) -> None:
        """Return once `/readyz` says so."""
        async with asyncio.timeout(READY_SECONDS):
            # The service is asked as from outside: there is no event to wait for.
            while (await self.get("/readyz")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def caller(self, subject: str, scope: str = "data:read data:write", **changes: Any) -> Caller:
        """Somebody signed in."""
        return Caller(self, self.issuer.token(subject, audience=IDENTIFIER, scope=scope, **changes))


@asynccontextmanager
async def run_resource_service(
    folder: Path, issuer: LocalIssuer, clock: FrozenClock, *, ready: bool = True, **environ: str
) -> AsyncIterator[RunningResourceService]:
    """The service with its database in `folder`, waited for unless `ready` is false.

    `environ` are further settings without their prefix. What blocks the loop is an error.
    """
    given = {
        "IDENTIFIER": IDENTIFIER,
        "ISSUER": issuer.url,
        "DATABASE_URL": f"sqlite:///{folder}/resource.sqlite3",
        **environ,
    }
    settings = ResourceSettings.load({f"RESOURCE_{name}": value for name, value in given.items()})
    async with (
        open_resource_service(settings, clock) as service,
        serve(service.app) as port,
        serve(service.metrics_app) as metrics_port,
        ClientSession() as http,
    ):
        running = RunningResourceService(http, port, metrics_port, issuer, clock)
        if ready:
            await running.wait_until_ready()
        with nothing_blocks() as blockbuster:
            for function in blockbuster.functions.values():
                # The kernel's figures about this process: nothing is waited for.
                function.can_block_in("prometheus_client/process_collector.py", "collect")
                # The start of another service beside this one: it serves nobody yet.
                function.can_block_in("resource_service/app.py", "open_resource_service")
            yield running


def _fields(names: dict[str, str]) -> dict[str, str]:
    """`If_Match` for `If-Match`: header names as keyword arguments."""
    return {name.replace("_", "-"): value for name, value in names.items()}
