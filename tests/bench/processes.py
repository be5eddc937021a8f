"""Starting the servers that are measured: each a process of its own, pinned to the first core."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER_CORE = "0"
START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, where it listens, and the seconds from its start to its first 200."""

    process: subprocess.Popen[bytes]
    url: str
    start_seconds: float

    def processor_seconds(self) -> float:
        """What the process has used of a core so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_megabytes(self) -> float:
        """The memory the process holds now (VmRSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    module: str, port: int, environment: Mapping[str, str], *, ready: str = "/readyz", core: str = SERVER_CORE
) -> Iterator[Server]:
    """`python -m module` on the server core, from its start to the first 200 on `ready`; stopped at the end.

    Any answer that is no failure of the server counts: one that asks for a token is ready to be given one.
    """
    url = f"http://127.0.0.1:{port}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AUTH_", "RESOURCE_"))}
    # What is measured is a service that was compiled before, as it is in its image.
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", core, sys.executable, "-m", module],
        cwd=ROOT,
        env={**clean, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url + ready, process, begun + START_SECONDS)
        yield Server(process, url, time.perf_counter() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_for(url: str, process: subprocess.Popen[bytes], deadline: float) -> None:
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server for {url} ended with exit code {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass  # not there yet
        time.sleep(0.01)
    raise RuntimeError(f"no answer from {url}")


@contextlib.contextmanager
def bare_server(body: str = '{"status":"Success","data":{"greeting":"hello"}}') -> Iterator[Server]:
    """The baseline: aiohttp and uvloop with one handler and nothing else."""
    port = free_port()
    environment = {"BARE_PORT": str(port), "BARE_BODY": body}
    with started("tests.bench.bare", port, environment, ready="/") as server:
        yield server


@contextlib.contextmanager
def auth_service(folder: Path, port: int | None = None, **settings: str) -> Iterator[Server]:
    """The auth service on embedded SQLite in `folder`, with the settings that ship."""
    port = port or free_port()
    environment = {
        "AUTH_PORT": str(port),
        "AUTH_ISSUER": f"http://127.0.0.1:{port}",
        "AUTH_METRICS_PORT": str(free_port()),
        "AUTH_DATABASE_URL": f"sqlite:///{folder}/auth/auth.sqlite3",
    }
    with started("auth_service", port, environment | settings) as server:
        yield server


@contextlib.contextmanager
def resource_service(folder: Path, issuer: str, **settings: str) -> Iterator[Server]:
    """The resource service on embedded SQLite in `folder`, trusting `issuer`, with the settings that ship."""
    port = free_port()
    environment = {
        "RESOURCE_PORT": str(port),
        "RESOURCE_ISSUER": issuer,
        "RESOURCE_IDENTIFIER": "http://localhost:8002",
        "RESOURCE_METRICS_PORT": str(free_port()),
        "RESOURCE_DATABASE_URL": f"sqlite:///{folder}/resource/resource.sqlite3",
    }
    with started("resource_service", port, environment | settings) as server:
        yield server


@contextlib.contextmanager
def protected_server(
    kind: str, issuer: str, keys: str, *, port: int | None = None, core: str = SERVER_CORE
) -> Iterator[Server]:
    """One of the small servers of `tests.bench.protected`."""
    port = port or free_port()
    environment = {
        "PROTECTED_KIND": kind,
        "PROTECTED_PORT": str(port),
        "PROTECTED_ISSUER": issuer,
        "PROTECTED_KEYS": keys,
    }
    ready = "/readyz" if kind == "protection" else "/"
    with started("tests.bench.protected", port, environment, ready=ready, core=core) as server:
        yield server


@contextlib.contextmanager
def work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="signet-bench-") as folder:
        yield Path(folder)
