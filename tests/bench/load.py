"""Load from wrk, pinned to the second core, and the arithmetic of interleaved rounds."""

from __future__ import annotations

import contextlib
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LOAD_CORE = "1"
CONNECTIONS = 64
ROUNDS = 3
SECONDS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw: answers a second, the 99th percentile, and how many answers were not 2xx or 3xx."""

    per_second: float
    p99_milliseconds: float
    refused: int


def require_wrk() -> None:
    """End with a message where wrk is missing."""
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        raise SystemExit("make bench needs wrk and taskset (Debian: apt-get install wrk util-linux)")


def wrk(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    script: Path | None = None,
    seconds: int = SECONDS,
    core: str = LOAD_CORE,
) -> Load:
    """One run against `url`, as fast as it answers."""
    return _load_of(*_start(url, headers or {}, script, (seconds, CONNECTIONS, core)))


@contextlib.contextmanager
def beside(url: str, script: Path, *, connections: int, seconds: int) -> Iterator[list[Load]]:
    """A run that goes on while the block is worked through; what it saw is in the list after the block."""
    loads: list[Load] = []
    run = _start(url, {}, script, (seconds, connections, LOAD_CORE))
    try:
        yield loads
    finally:
        loads.append(_load_of(*run))


def paced(url: str, script: Path, *, connections: int, seconds: int = SECONDS) -> Load:
    """One run whose script sets the pace."""
    return _load_of(*_start(url, {}, script, (seconds, connections, LOAD_CORE)))


def _start(
    url: str, headers: Mapping[str, str], script: Path | None, shape: tuple[int, int, str]
) -> tuple[subprocess.Popen[str], int]:
    seconds, connections, core = shape
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    return subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True), seconds


def _load_of(process: subprocess.Popen[str], seconds: int) -> Load:
    text, _ = process.communicate(timeout=seconds + 30)
    if process.returncode:
        raise RuntimeError(f"wrk ended with exit code {process.returncode}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Load(
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", text)),
        p99_milliseconds=_milliseconds(_find(r"99%\s+([\d.]+\w+)", text)),
        refused=int(refused[1]) if refused else 0,
    )


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said something unexpected:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    factors = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if match is None:
        raise RuntimeError(f"wrk gave a latency of {text}")
    return float(match[1]) * factors[match[2]]


def interleaved(candidates: Mapping[str, Callable[[], Load]]) -> dict[str, Load]:
    """Every candidate once a round, for ROUNDS rounds; the run with the median rate of each."""
    runs: dict[str, list[Load]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, candidate in candidates.items():
            runs[name].append(candidate())
    return {name: _median_run(loads) for name, loads in runs.items()}


def _median_run(loads: list[Load]) -> Load:
    refused = sum(load.refused for load in loads)
    rate = statistics.median(load.per_second for load in loads)
    median = min(loads, key=lambda load: abs(load.per_second - rate))
    return Load(median.per_second, median.p99_milliseconds, refused)
