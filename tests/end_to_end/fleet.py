"""Several processes of each service: replicas of one auth service on one database, and resource services of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.end_to_end.deployment import READY_SECONDS, free_ports
from tests.end_to_end.http import NoAnswer, call
from tests.end_to_end.processes import END_SECONDS, ROOT, end_all

IDENTIFIER = "http://localhost:8002"
POLL_SECONDS = 0.02


class Fleet:
    """Processes by name: `auth-0`, `auth-1`, ..., `resource-0`, ..., each with a port of its own."""

    def __init__(self, folder: Path, *, replicas: int, resources: int, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self.ports: dict[str, int] = {}
        ports = iter(free_ports(2 * (replicas + resources)))
        for number in range(replicas):
            self.ports[f"auth-{number}"] = next(ports)
        self.issuer = f"http://localhost:{self.ports['auth-0']}"
        for number in range(replicas):
            self._environments[f"auth-{number}"] = {
                "AUTH_PORT": str(self.ports[f"auth-{number}"]),
                "AUTH_METRICS_PORT": str(next(ports)),
                "AUTH_ISSUER": self.issuer,
                "AUTH_RESOURCES": f'{{"{IDENTIFIER}": ["data:read", "data:write"]}}',
                "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth/auth.sqlite3",
                **{name: value for name, value in settings.items() if name.startswith("AUTH_")},
            }
        for number in range(resources):
            name = f"resource-{number}"
            self.ports[name] = next(ports)
            replica = self.ports[f"auth-{number % replicas}"]
            self._environments[name] = {
                "RESOURCE_PORT": str(self.ports[name]),
                "RESOURCE_METRICS_PORT": str(next(ports)),
                "RESOURCE_IDENTIFIER": IDENTIFIER,
                "RESOURCE_ISSUER": self.issuer,
                "RESOURCE_REVOCATIONS_URI": f"http://localhost:{replica}/revocations",
                "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/{name}/resource.sqlite3",
                **{key: value for key, value in settings.items() if key.startswith("RESOURCE_")},
            }

    @property
    def names(self) -> list[str]:
        return list(self._environments)

    def url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one process."""
        return dict(self._environments[name])

    def metrics_port(self, name: str) -> int:
        environment = self._environments[name]
        return int(environment.get("AUTH_METRICS_PORT") or environment["RESOURCE_METRICS_PORT"])

    def start(self, name: str) -> None:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AUTH_", "RESOURCE_"))}
        with self._log_file(name).open("ab") as log_file:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", f"{name.partition('-')[0]}_service", "serve"],
                cwd=ROOT,
                env=inherited | self._environments[name],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait(END_SECONDS)

    def wait_until_ready(self, *names: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for name in names:
            while not self._is_ready(name):
                assert time.monotonic() < deadline, f"{name} is not ready:\n{self._log_file(name).read_text()}"
                time.sleep(POLL_SECONDS)

    def resident_megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self._running[name].pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    def processor_seconds(self, name: str) -> float:
        """What the process has used of the processors so far."""
        fields = Path(f"/proc/{self._running[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        end_all(self._running.values())

    def _is_ready(self, name: str) -> bool:
        try:
            return call("GET", self.url(name, "/readyz")).status == 200
        except NoAnswer:
            return False

    def _log_file(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@contextlib.contextmanager
def running_fleet(folder: Path, *, replicas: int, resources: int, **settings: str) -> Iterator[Fleet]:
    """All of them ready; ended when the block ends."""
    fleet = Fleet(folder, replicas=replicas, resources=resources, settings=settings)
    try:
        for name in fleet.names:
            fleet.start(name)
            if name == "auth-0":
                fleet.wait_until_ready(name)
        fleet.wait_until_ready(*fleet.names)
        yield fleet
    finally:
        fleet.end()
