"""Both services in this process, on loopback ports; each can be stopped and started by itself."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from auth_service.settings import AuthSettings
from resource_service.app import open_resource_service
from resource_service.settings import ResourceSettings
from tests.auth_service.running import PATIENT, AuthClient, ServiceClient, client_session, running_auth
from tests.clock import FrozenClock
from tests.end_to_end.deployment import free_ports
from tests.wire import serve


class BothServices:
    """`auth` and `resource` are clients of those that run. Their settings name each other, and nothing else does."""

    auth: AuthClient
    resource: ServiceClient

    def __init__(self, folder: Path, clock: FrozenClock) -> None:
        self._auth_port, self._resource_port = free_ports(2)
        self.issuer = f"http://localhost:{self._auth_port}"
        self.identifier = f"http://localhost:{self._resource_port}"
        self._clock = clock
        self._auth_settings = AuthSettings.load(
            {
                **PATIENT,
                "AUTH_ISSUER": self.issuer,
                "AUTH_RESOURCES": json.dumps({self.identifier: ["data:read", "data:write"]}),
                "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth/auth.sqlite3",
            }
        )
        self._resource_settings = ResourceSettings.load(
            {
                "RESOURCE_ISSUER": self.issuer,
                "RESOURCE_IDENTIFIER": self.identifier,
                "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/resource/resource.sqlite3",
            }
        )
        self._auth_stack = contextlib.AsyncExitStack()
        self._resource_stack = contextlib.AsyncExitStack()

    async def start_auth(self) -> None:
        self.auth = await self._auth_stack.enter_async_context(
            running_auth(self._auth_settings, self._clock, port=self._auth_port)
        )

    async def start_resource(self) -> None:
        """Start it and wait until it has found the issuer's keys."""
        stack = self._resource_stack
        service = await stack.enter_async_context(open_resource_service(self._resource_settings, self._clock))
        port = await stack.enter_async_context(serve(service.app, self._resource_port))
        metrics_port = await stack.enter_async_context(serve(service.metrics_app))
        http = await stack.enter_async_context(client_session())
        self.resource = ServiceClient(http, port, metrics_port, self._clock)
        await self.resource.wait_until_ready()

    async def stop_auth(self) -> None:
        await self._auth_stack.aclose()

    async def stop(self) -> None:
        """Stop what runs, the resource service first."""
        await self._resource_stack.aclose()
        await self._auth_stack.aclose()

    async def restart(self) -> None:
        """Stop both, and start them on what they have stored."""
        await self.stop()
        await self.start_auth()
        await self.start_resource()
