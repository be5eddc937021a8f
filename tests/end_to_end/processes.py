"""Both services as processes of this machine, with embedded SQLite in a folder each."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tests.end_to_end.deployment import Deployment, Service, free_ports

ROOT = Path(__file__).resolve().parents[2]
END_SECONDS = 30.0


class Processes(Deployment):
    """`python -m auth_service` and `python -m resource_service`; on a `MovedClock` where its file is given."""

    def __init__(self, folder: Path, settings: Mapping[str, str], clock: Path | None = None) -> None:
        auth, resource, auth_metrics, resource_metrics = free_ports(4)
        super().__init__({Service.AUTH: auth, Service.RESOURCE: resource})
        self._folder = folder
        self._clock = clock
        self._running: dict[Service, subprocess.Popen[bytes]] = {}
        self._environment = {
            "AUTH_PORT": str(auth),
            "AUTH_METRICS_PORT": str(auth_metrics),
            "AUTH_RESOURCES": f'{{"http://localhost:{resource}": ["data:read", "data:write"]}}',
            "AUTH_DATABASE_URL": f"sqlite:///{self.data_folder(Service.AUTH)}/auth.sqlite3",
            # The tests all come from one address and make accounts by the hundred.
            "AUTH_REGISTRATIONS_PER_ADDRESS": "100000",
            "AUTH_REGISTRATIONS_PER_SERVICE": "100000",
            "RESOURCE_PORT": str(resource),
            "RESOURCE_METRICS_PORT": str(resource_metrics),
            "RESOURCE_ISSUER": f"http://localhost:{auth}",
            "RESOURCE_DATABASE_URL": f"sqlite:///{self.data_folder(Service.RESOURCE)}/resource.sqlite3",
            **settings,
        }

    def data_folder(self, service: Service) -> Path:
        return self._folder / service.value

    def pid(self, service: Service) -> int:
        return self._running[service].pid

    def start(self, service: Service) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AUTH_", "RESOURCE_"))}
        own = {name: value for name, value in self._environment.items() if name.startswith(f"{service.value.upper()}_")}
        words = [service.package, "serve"]
        if self._clock is not None:
            words = ["tests.end_to_end.moved_clock", str(self._clock), service.value]
        with self._log_file(service).open("ab") as log_file:
            self._running[service] = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=inherited | own,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def stop(self, service: Service) -> None:
        process = self._running.pop(service)
        process.terminate()
        code = process.wait(END_SECONDS)
        assert code == 0, f"{service} ended with {code}:\n{self.logs(service)}"

    def kill(self, service: Service) -> None:
        process = self._running.pop(service)
        process.kill()
        process.wait(END_SECONDS)

    def is_running(self, service: Service) -> bool:
        return service in self._running and self._running[service].poll() is None

    def logs(self, service: Service) -> str:
        return self._log_file(service).read_text()

    def end(self) -> None:
        """Leave nothing running."""
        end_all(self._running.values())

    def _log_file(self, service: Service) -> Path:
        return self._folder / f"{service}.log"


def end_all(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Ask them to end, and make those end that do not."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_processes(folder: Path, clock: Path | None = None, **settings: str) -> Iterator[Processes]:
    """Both services, ready, with their data and logs under `folder`; ended when the block ends."""
    processes = Processes(folder, settings, clock)
    try:
        for service in Service:
            processes.start(service)
        processes.wait_until_ready()
        yield processes
    finally:
        processes.end()
