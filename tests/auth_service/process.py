"""`python -m auth_service` as a real process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.deployment import free_ports

ROOT = Path(__file__).parents[2]
SECONDS = 60
POLL_SECONDS = 0.02


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This process's environment, with the settings given and no others, and the data in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTH_")}
    given = {"DATABASE_URL": f"sqlite:///{folder}/auth.sqlite3", **settings}
    return {**inherited, "PYTHONPATH": str(ROOT), **{f"AUTH_{name}": value for name, value in given.items()}}


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "auth_service", *arguments],
        cwd=folder.parent,
        env=environment(folder, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Serving:
    """The service, listening; what it prints goes to files."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.port, self.metrics_port = free_ports(2)
        self.folder = folder
        self._output, self._errors = folder.parent / "output", folder.parent / "errors"
        ports = {"PORT": str(self.port), "METRICS_PORT": str(self.metrics_port)}
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "auth_service"],
                cwd=folder.parent,
                env=environment(folder, **{**ports, **settings}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait_until_ready(self) -> None:
        """Return once it has printed its ready line."""
        for _ in range(int(SECONDS / POLL_SECONDS)):
            if "ready on" in self.output:
                return
            assert self.process.poll() is None, self.errors
            time.sleep(POLL_SECONDS)
        raise AssertionError(self.errors)

    def stop(self) -> int:
        """End it in an orderly way; its exit code."""
        self.process.terminate()
        return self.process.wait(SECONDS)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Serving]:
    """The service with its data in `folder`, ready; killed at the end when it still runs."""
    started = Serving(folder, settings)
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other_program:
        other_program.bind(("127.0.0.1", 0))
        other_program.listen()
        yield other_program.getsockname()[1]
