"""`make run`: both services in the foreground, with their data under var/, until Ctrl-C.

Each service is a process of its own, configured by the same environment variables as anywhere else. When one
ends, the other is stopped, and its exit code is ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auth_service.settings import AuthSettings
from resource_service.settings import ResourceSettings
from shared.health import answers
from shared.settings import SettingsError

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
"""Longer than a service takes to finish what is in flight (shared.serving.GRACE_SECONDS)."""
POLL_SECONDS = 0.05
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Service:
    """One of the two, and where its environment says that it listens."""

    package: str
    prefix: str
    default_port: int
    default_metrics_port: int

    def address(self, environ: Mapping[str, str], kind: str = "") -> tuple[str, int]:
        """Host and port; a value that is no number is left for the service itself to refuse."""
        default = self.default_metrics_port if kind else self.default_port
        port = environ.get(f"{self.prefix}_{kind}PORT", "")
        number = int(port) if port.isdecimal() else default
        return environ.get(f"{self.prefix}_{kind}HOST", "127.0.0.1"), number if number <= MAX_PORT else default

    def is_ready(self, environ: Mapping[str, str]) -> bool:
        """Whether it answers 200 on /readyz."""
        host, port = self.address(environ)
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  (compared, not listened on)
        return answers(f"http://{host}:{port}/readyz")


SERVICES = (Service("auth_service", "AUTH", 8001, 9001), Service("resource_service", "RESOURCE", 8002, 9002))


def joined(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the two know each other on whatever ports were chosen; what is set is left as it is."""
    auth, resource = (f"http://localhost:{service.address(environ)[1]}" for service in SERVICES)
    made = {"RESOURCE_ISSUER": auth, "AUTH_RESOURCES": json.dumps({resource: ["data:read", "data:write"]})}
    given = {name for name in made if name in environ or f"{name}_FILE" in environ}
    # An issuer or identifier of the caller's own is not for us to pair.
    if any(f"{name}{suffix}" in environ for name in ("AUTH_ISSUER", "RESOURCE_IDENTIFIER") for suffix in ("", "_FILE")):
        given = set(made)
    return {**environ, **{name: value for name, value in made.items() if name not in given}}


def taken_ports(environ: Mapping[str, str]) -> list[str]:
    """A line for each port that another program has, with the setting that moves it."""
    problems = []
    for service in SERVICES:
        for kind in ("", "METRICS_"):
            host, port = service.address(environ, kind)
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                # As the service will: a connection in TIME_WAIT does not keep a port from being listened on.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    name = f"{service.prefix}_{kind}PORT"
                    problems.append(f"{host}:{port} ({name}): {(error.strerror or 'no such address').lower()}")
    return problems


async def start(service: Service, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start one service; it prints its own ready line."""
    # In a session of its own: Ctrl-C reaches us alone, and we stop both in an orderly way.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", service.package, "serve", cwd=ROOT, env=dict(environ), start_new_session=True
    )


async def wait_until_ready(service: Service, environ: Mapping[str, str]) -> bool:
    """True once it is ready."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while not await asyncio.to_thread(service.is_ready, environ):
        if loop.time() > deadline:
            print(f"{service.package} is not ready after {START_SECONDS:.0f} seconds", file=sys.stderr)
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def stop(processes: list[asyncio.subprocess.Process], again: asyncio.Event) -> None:
    """Ask each to stop and wait; kill what has not ended in time, or when a second signal came."""
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    ended = asyncio.gather(*(process.wait() for process in processes))
    impatience = asyncio.create_task(again.wait())
    either: set[asyncio.Future[Any]] = {ended, impatience}
    await asyncio.wait(either, timeout=STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    impatience.cancel()
    for process in processes:
        if process.returncode is None:
            process.kill()
    await ended


async def run(environ: Mapping[str, str]) -> int:
    """Start both, print what to try, wait for a signal or for one of them to end; return the exit code."""
    signalled, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: again.set() if signalled.is_set() else signalled.set())
    asked = asyncio.create_task(signalled.wait())
    processes: list[asyncio.subprocess.Process] = []
    ends: list[asyncio.Task[int]] = []
    ready: asyncio.Task[bool] | None = None
    try:
        # One after the other: either order works, but this one has no complaint in the log that the issuer is missing.
        for service in SERVICES:
            processes.append(await start(service, environ))
            ends.append(asyncio.create_task(processes[-1].wait()))
            ready = asyncio.create_task(wait_until_ready(service, environ))
            await asyncio.wait({*ends, asked, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                break
            if not ready.result():
                return 1
        else:
            print_what_to_try(environ)
            await asyncio.wait({*ends, asked}, return_when=asyncio.FIRST_COMPLETED)
        if signalled.is_set():
            return 0
        for service, process in zip(SERVICES, processes, strict=False):
            if process.returncode is not None:
                code = 128 - process.returncode if process.returncode < 0 else process.returncode or 1
                print(f"{service.package} ended with exit code {code}; the other is stopped", file=sys.stderr)
                return code
        raise AssertionError("one of them has ended")
    finally:
        if ready is not None:
            ready.cancel()
        asked.cancel()
        await stop(processes, again)


def print_what_to_try(environ: Mapping[str, str]) -> None:
    """The README's lines, with the ports of this run."""
    ports = [str(service.address(environ)[1]) for service in SERVICES]
    lines = subprocess.run([ROOT / "scripts" / "try-it", *ports], check=True, capture_output=True, text=True).stdout
    print(f"\nTry it:\n\n{lines}\nCtrl-C stops them.", flush=True)


def refused_settings(environ: Mapping[str, str]) -> list[SettingsError]:
    """What each service would refuse to start with."""
    refused = []
    for load in (AuthSettings.load, ResourceSettings.load):
        try:
            load(environ)
        except SettingsError as error:
            refused.append(error)
    return refused


def main() -> int:
    """Refuse to start with settings that a service refuses, or on a taken port; otherwise run."""
    environ = joined(os.environ)
    refused = refused_settings(environ)
    for error in refused:
        print(error, file=sys.stderr)
    problems = taken_ports(environ)
    if problems:
        print("cannot start, another program has the port:", file=sys.stderr)
        for problem in problems:
            print(f"  - {problem}", file=sys.stderr)
        print("Stop that program, or set another port.", file=sys.stderr)
    if refused or problems:
        return 2 if refused else 1
    return asyncio.run(run(environ))


if __name__ == "__main__":
    sys.exit(main())
