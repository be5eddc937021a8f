"""`make run`: what it prints works as printed, and it ends the way it is asked to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.containers import Containers
from tests.end_to_end.deployment import free_ports
from tests.end_to_end.processes import END_SECONDS, ROOT
from tests.engines import require_engine

LAST_LINE = '{"status":"Success","data":{"greeting":"hello"}}'


class MakeRun:
    """The supervisor that `make run` starts, on free ports and with its data in a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.auth_port, self.resource_port, *metrics = free_ports(4)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AUTH_", "RESOURCE_"))}
        own = {
            "AUTH_PORT": str(self.auth_port),
            "AUTH_METRICS_PORT": str(metrics[0]),
            "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth/auth.sqlite3",
            "AUTH_RESOURCES": f'{{"http://localhost:{self.resource_port}": ["data:read", "data:write"]}}',
            "RESOURCE_PORT": str(self.resource_port),
            "RESOURCE_METRICS_PORT": str(metrics[1]),
            "RESOURCE_ISSUER": f"http://localhost:{self.auth_port}",
            "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/resource/resource.sqlite3",
        }
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.run_both"],
                cwd=ROOT,
                env=inherited | own | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, words: str) -> None:
        """Return once it printed `words`."""
        deadline = time.monotonic() + END_SECONDS
        while words not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.02)

    def services(self) -> list[int]:
        """The process ids of the services it started, the auth service first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]

    def end(self) -> None:
        """Leave nothing running."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(END_SECONDS)


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    """`make run`, started."""
    running = MakeRun(tmp_path)
    yield running
    running.end()


def try_printed_lines(words: str, *, then: str = "") -> str:
    """Run the lines between "Try it:" and the end of the words as a person would; return the last answer."""
    require_engine("curl", shutil.which("curl") is not None)
    lines = words.split("Try it:", 1)[1].replace("Ctrl-C stops them.", "") + then
    finished = subprocess.run(["bash", "-euc", lines], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_printed_lines_work_as_printed(make_run: MakeRun) -> None:
    """One ready line for each service, then lines to copy that end in the data that they stored."""
    make_run.wait_for("Ctrl-C stops them.")
    words = make_run.output()
    for package in ("auth", "resource"):
        assert len(re.findall(rf"^{package} service ready\b", words, flags=re.MULTILINE)) == 1
    assert try_printed_lines(words).endswith(LAST_LINE)


def test_the_token_is_refused_once_one_has_signed_out(make_run: MakeRun) -> None:
    """The README's second lines to try: out on one port, refused on the other."""
    make_run.wait_for("Ctrl-C stops them.")
    section = (ROOT / "README.md").read_text().partition("Sign out")[2]
    signing_out = section.partition("```sh\n")[2].partition("```")[0]
    said = section.partition("This time it prints `")[2].partition("`")[0]
    for port, ours in (("8001", make_run.auth_port), ("8002", make_run.resource_port)):
        signing_out = signing_out.replace(f"localhost:{port}", f"localhost:{ours}")
    assert said
    assert try_printed_lines(make_run.output(), then=signing_out).endswith(said)


@pytest.mark.slow
@pytest.mark.xdist_group("containers")
def test_the_lines_printed_by_make_up_work_as_printed(containers: Containers) -> None:
    """`make up` prints the same lines, and they work with the containers."""
    assert try_printed_lines(containers.words_of_up).endswith(LAST_LINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both(make_run: MakeRun, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end both services in an orderly way, and the exit code is 0."""
    make_run.wait_for("Ctrl-C stops them.")
    services = make_run.services()
    assert len(services) == 2
    make_run.process.send_signal(number)
    assert make_run.process.wait(END_SECONDS) == 0
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]
    assert "Traceback" not in make_run.output()


@pytest.mark.parametrize("which", [0, 1])
def test_when_one_dies_the_other_is_stopped(make_run: MakeRun, which: int) -> None:
    """The exit code is that of the service that ended; nothing is left running."""
    make_run.wait_for("Ctrl-C stops them.")
    services = make_run.services()
    os.kill(services[which], signal.SIGKILL)
    assert make_run.process.wait(END_SECONDS) == 128 + signal.SIGKILL
    assert f"{('auth_service', 'resource_service')[which]} ended with exit code 137" in make_run.output()
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


def test_settings_that_are_refused_end_both(tmp_path: Path) -> None:
    """A service that refuses its settings ends the run with its own exit code and message."""
    running = MakeRun(tmp_path, AUTH_REGISTRATION="perhaps")
    try:
        assert running.process.wait(END_SECONDS) == 2
        assert "AUTH_REGISTRATION" in running.output()
    finally:
        running.end()


def test_all_problems_of_both_are_told_at_once(tmp_path: Path) -> None:
    """Settings of either service and taken ports, in one go; nothing is started."""
    with socket.socket() as other_program:
        other_program.bind(("127.0.0.1", 0))
        other_program.listen()
        port = other_program.getsockname()[1]
        running = MakeRun(tmp_path, AUTH_PROT="1", RESOURCE_PROT="2", RESOURCE_METRICS_PORT=str(port))
        try:
            assert running.process.wait(END_SECONDS) == 2
            for name in ("AUTH_PROT", "RESOURCE_PROT", "RESOURCE_METRICS_PORT"):
                assert name in running.output()
            assert "service ready" not in running.output()
        finally:
            running.end()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Nothing is started when a port is taken; the message names the port and the setting that moves it."""
    with socket.socket() as other_program:
        other_program.bind(("127.0.0.1", 0))
        other_program.listen()
        port = other_program.getsockname()[1]
        running = MakeRun(tmp_path, RESOURCE_PORT=str(port))
        try:
            assert running.process.wait(END_SECONDS) == 1
        finally:
            running.end()
    assert f"127.0.0.1:{port} (RESOURCE_PORT): address already in use" in running.output()
    assert "service ready" not in running.output()
