"""What the key set drills are made of: a service with a moved clock, an issuer that fails as told, and figures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, web
from prometheus_client.parser import text_string_to_metric_families

from shared.serving import ServiceRunner
from tests.end_to_end.deployment import free_ports
from tests.end_to_end.moved_clock import MovedClock
from tests.end_to_end.processes import ROOT, end_all
from tests.protocol.minting import TestKey, mint, signing_key
from tests.resource_service.protection.issuer import Issuer, json_of

READY_SECONDS = 60.0
AUDIENCE = "https://api.example"
TOKEN_SECONDS = 300
METADATA = "/.well-known/oauth-authorization-server"


@dataclass
class DrillIssuer(Issuer):
    """An issuer on a port of its own that can go away and come back; its tokens are minted at the moved clock."""

    clock: MovedClock | None = None
    _runner: ServiceRunner | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def come(self) -> None:
        """Listen; on the port of before, when there was one."""
        app = web.Application()
        app.router.add_get("/keys", self.show_keys)
        app.router.add_get("/{path:.*}", self.show_other)
        self._runner = ServiceRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self.metadata_answers[METADATA] = json_of({"issuer": self.url, "jwks_uri": self.jwks_uri})

    async def go(self) -> None:
        """Listen no more: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def token(self, key: TestKey | None = None, subject: str = "somebody") -> str:
        """A good token, as the moved clock has it."""
        assert self.clock is not None
        now = int(self.clock.now())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "jti": f"token-{next(self._numbers)}",
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "auth_time": now,
        }
        return mint(key=key or signing_key(), claims=claims)


@dataclass
class DrilledService:
    """A running resource service, its clock, and what can be seen of it from outside."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    clock: MovedClock
    http: ClientSession

    async def status(self, token: str) -> int:
        """Of a listing of one's own data."""
        return (await self.ask(token))[0]

    async def ask(self, token: str) -> tuple[int, dict[str, str]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(f"http://127.0.0.1:{self.port}/userData", headers=headers) as answer:
            await answer.read()
            return answer.status, dict(answer.headers)

    async def readiness(self) -> tuple[int, dict[str, object]]:
        """The status of /readyz and what it says of the keys."""
        async with self.http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
            return answer.status, (await answer.json())["checks"]["keys"]

    async def figure(self, name: str, **labels: str) -> float:
        """The sum of the samples called `name` (without its prefix) that have these labels."""
        async with self.http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"signet_protection_{name}" and labels.items() <= sample.labels.items()
        )

    def peak_megabytes(self) -> float:
        """The most memory that the process ever held (VmHWM)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

    def resident_megabytes(self) -> float:
        """What it holds now (VmRSS)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024

    async def settle(self, seconds: float = 0.03) -> None:
        """Let the process notice that its clock has moved."""
        await asyncio.sleep(seconds)


@contextlib.asynccontextmanager
async def drill_issuer(clock: MovedClock) -> AsyncIterator[DrillIssuer]:
    """An issuer that listens."""
    issuer = DrillIssuer(clock=clock)
    await issuer.come()
    try:
        yield issuer
    finally:
        issuer.hold.set()
        await issuer.go()


@contextlib.contextmanager
def moved_process(file: Path, service: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The service as a process of its own; ended when the block ends."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AUTH_", "RESOURCE_"))}
    with (file.parent / f"{service}.log").open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.moved_clock", str(file), service],
            cwd=ROOT,
            env=inherited | environment,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        end_all([process])


@contextlib.asynccontextmanager
async def drilled_service(
    folder: Path, clock: MovedClock, issuer_url: str, *, ready: bool = True, **settings: str
) -> AsyncIterator[DrilledService]:
    """The resource service trusting `issuer_url`, its moved clock in `folder`/clock; waited for unless told not to."""
    port, metrics_port = free_ports(2)
    environment = {
        "RESOURCE_PORT": str(port),
        "RESOURCE_METRICS_PORT": str(metrics_port),
        "RESOURCE_IDENTIFIER": AUDIENCE,
        "RESOURCE_ISSUER": issuer_url,
        "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/resource/resource.sqlite3",
        **settings,
    }
    with moved_process(folder / "clock", "resource", environment) as process:
        async with ClientSession() as http:
            service = DrilledService(process, port, metrics_port, clock, http)
            await wait_until_answers(http, f"http://127.0.0.1:{port}{'/readyz' if ready else '/livez'}", process)
            yield service


async def wait_until_answers(http: ClientSession, url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when `url` answers 200."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError):
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        assert time.monotonic() < deadline, f"{url} does not answer 200"
        assert process.poll() is None, f"the process for {url} has ended"
        await asyncio.sleep(0.02)
