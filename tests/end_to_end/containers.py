"""Both services as the containers of docker-compose.yml, in a compose project that only the tests know."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.end_to_end.deployment import Deployment, Service, free_ports

ROOT = Path(__file__).resolve().parents[2]
UP_SECONDS = 600.0
"""The first build downloads every locked package."""
COMMAND_SECONDS = 60.0


def engine_answers() -> bool:
    """Whether a container engine and a compose command are there."""
    if not shutil.which("docker"):
        return False
    commands = (["docker", "info"], ["docker", "compose", "version"])
    engine, compose_v2 = (
        subprocess.run(command, capture_output=True, timeout=COMMAND_SECONDS, check=False).returncode == 0
        for command in commands
    )
    return engine and (compose_v2 or shutil.which("docker-compose") is not None)


class Containers(Deployment):
    """What `make up` starts."""

    def __init__(self, project: str) -> None:
        auth, resource = free_ports(2)
        super().__init__({Service.AUTH: auth, Service.RESOURCE: resource})
        self.project = project
        self.words_of_up = ""

    def up(self) -> None:
        """Build, start, wait until both are healthy; keep what was printed."""
        self.words_of_up = self._compose("up", seconds=UP_SECONDS)

    def down(self) -> None:
        """Remove the containers, their networks and their volumes."""
        self._compose("down", "--volumes", "--timeout", "20")

    def start(self, service: Service) -> None:
        self.docker("start", self.container(service))

    def stop(self, service: Service) -> None:
        container = self.container(service)
        self.docker("stop", container)
        code = self.inspect(service)["State"]["ExitCode"]
        assert code == 0, f"{service} ended with {code}:\n{self.logs(service)}"

    def kill(self, service: Service) -> None:
        self.docker("kill", "--signal", "KILL", self.container(service))
        self.docker("wait", self.container(service))

    def is_running(self, service: Service) -> bool:
        return self.inspect(service)["State"]["Running"] is True

    def logs(self, service: Service) -> str:
        return self.docker("logs", self.container(service))

    def container(self, service: Service) -> str:
        """The container's id, whether it runs or not."""
        label = "label=com.docker.compose"
        filters = ["--filter", f"{label}.project={self.project}", "--filter", f"{label}.service={service}"]
        return self.docker("ps", "--all", "--quiet", *filters).strip()

    def inspect(self, service: Service) -> dict[str, Any]:
        """What the engine knows about the container."""
        described: dict[str, Any] = json.loads(self.docker("inspect", self.container(service)))[0]
        return described

    def python(self, service: Service, program: str) -> str:
        """Run a Python program inside the container, as its user; return what it printed."""
        return self.docker("exec", self.container(service), "python", "-c", program)

    @staticmethod
    def docker(*arguments: str) -> str:
        """Run a docker command that must work; return its output and, after it, its messages."""
        finished = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        assert finished.returncode == 0, f"docker {' '.join(arguments)}:\n{finished.stderr}"
        return finished.stdout + finished.stderr

    def _compose(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        environment = {
            **os.environ,
            "COMPOSE_FILE": os.pathsep.join(("docker-compose.yml", "tests/end_to_end/compose.yml")),
            "COMPOSE_PROJECT_NAME": self.project,
            "SIGNET_AUTH_PORT": str(self.ports[Service.AUTH]),
            "SIGNET_RESOURCE_PORT": str(self.ports[Service.RESOURCE]),
        }
        finished = subprocess.run(
            [ROOT / "scripts" / "containers", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@contextlib.contextmanager
def running_containers() -> Iterator[Containers]:
    """Both containers, healthy, on fresh volumes; nothing of them is left when the block ends."""
    containers = Containers(f"signet-test-{os.getpid()}")
    try:
        containers.up()
        yield containers
    finally:
        containers.down()
