"""The auth service: sign-ins beside bare argon2, and refreshes beside bare RSA signing, one core each.

The service has the first core to itself. The load, and PostgreSQL where it is there, have the second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from auth_service.keys.sealing import new_master_key
from tests.bench import report
from tests.bench.clients import PASSWORD
from tests.bench.load import LOAD_CORE, ROUNDS
from tests.bench.processes import ROOT, SERVER_CORE, Server, auth_service, work_folder
from tests.bench.steady import Connection, Step, Tally, closed_loop, open_loop
from tests.bench.stored_sessions import ACCOUNTS, add_accounts, add_sessions, first_token, settle, subject
from tests.postgresql import find_programs, running_postgresql

SECONDS = 4
OVERLOAD_SECONDS = 8
SIGN_IN_WORKERS, REFRESH_WORKERS = 32, 32
KEY_SETS_A_SECOND = 100
FEW, MANY = 1_000, 1_000_000
LOADING_SECONDS = 60
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def main() -> None:
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    try:
        report.heading(f"Auth service; load average {_load_average()}")
        _sign_ins()
        with work_folder() as folder:
            _refreshes("SQLite", folder, f"sqlite:///{folder}/auth/auth.sqlite3")
        if find_programs() is None:
            report.line("refreshes on PostgreSQL", "not measured", "there is no PostgreSQL here")
            return
        with work_folder() as folder, running_postgresql(durable=True) as server:
            _refreshes("PostgreSQL", folder, server.create_database("bench"))
    finally:
        os.sched_setaffinity(0, own_cores)


def _sign_ins() -> None:
    report.heading(f"Sign-ins, durable, SQLite, one core, medians of {ROUNDS} interleaved rounds")
    with work_folder() as folder:
        url = f"sqlite:///{folder}/auth/auth.sqlite3"
        with _service(folder, url):
            pass
        _run(add_accounts(url))
        with _service(folder, url) as server:
            port = _port(server)
            _run(closed_loop(port, SIGN_IN_WORKERS, 1, _sign_in))
            rounds = _interleaved("argon2", server, SIGN_IN_WORKERS, _sign_in)
            rate = rounds.rate
            report.line("bare argon2 (m=19 MiB, t=2, p=1)", f"{rounds.bare_rate:.1f}/s", "baseline")
            report.line("sign-ins", f"{rate / rounds.bare_rate:.2f} x bare", f"target 0.85 ({rate:.1f}/s)")
            rounds.say_more("sign-ins")
            for factor, target in ((1, ""), (2, "target 50 ms; ")):
                sign_ins, key_sets = _run(_meanwhile(port, factor * rate))
                told = ", ".join(f"{count} x {status}" for status, count in sorted(sign_ins.statuses.items()))
                name = f"key set, 99th percentile at {factor} x that many sign-ins"
                report.line(name, f"{key_sets.p99_milliseconds:.1f} ms", f"{target}sign-ins: {told}")
                _say_refused("key set", [key_sets])


async def _meanwhile(port: int, rate: float) -> tuple[Tally, Tally]:
    """Sign-ins at `rate`, and key sets at a steady rate of their own."""
    return await asyncio.gather(
        open_loop(port, rate, OVERLOAD_SECONDS, _sign_in),
        open_loop(port, KEY_SETS_A_SECOND, OVERLOAD_SECONDS, _key_set),
    )


async def _sign_in(connection: Connection, number: int) -> int:
    """Each account comes from an address of its own, as behind a proxy: no budget is spent."""
    name = subject(number + random.randrange(ACCOUNTS) * SIGN_IN_WORKERS)
    address = f"10.0.0.{name.rpartition('-')[2]}"
    body = json.dumps({"username": name, "password": PASSWORD}).encode()
    headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
    return (await connection.send("POST", "/login", body, headers))[0]


async def _key_set(connection: Connection, _number: int) -> int:
    return (await connection.send("GET", "/.well-known/jwks.json"))[0]


def _refreshes(name: str, folder: Path, url: str) -> None:
    """Refreshes of sessions drawn at random from few, then from many."""
    with _service(folder, url):
        pass
    _run(add_accounts(url))
    stored, client = 0, _RefreshClient()
    for wanted in (FEW, MANY):
        stored = add_sessions(url, stored, wanted, seconds=LOADING_SECONDS)
        settle(url)
        report.heading(f"Refreshes, durable, {name}, {stored:,} sessions stored; load average {_load_average()}")
        if stored < wanted:
            report.line("sessions", f"{stored:,}", f"as many as could be loaded in {LOADING_SECONDS} s of {wanted:,}")
        client.stored = stored
        _measure_refreshes(folder, url, client)


def _measure_refreshes(folder: Path, url: str, client: _RefreshClient) -> None:
    with _service(folder, url) as server:
        _run(closed_loop(_port(server), REFRESH_WORKERS, 1, client.refresh))
        rounds = _interleaved("rsa", server, REFRESH_WORKERS, client.refresh)
    p99 = statistics.median(tally.p99_milliseconds for tally in rounds.tallies)
    report.line("bare RSA-2048 signing", f"{rounds.bare_rate:,.0f}/s", "baseline")
    report.line("refreshes", f"{rounds.rate / rounds.bare_rate:.2f} x bare", "target 0.15")
    report.line("refreshes a second", f"{rounds.rate:,.0f}", f"target 300 (p99 {p99:.1f} ms)")
    rounds.say_more("refreshes")


@dataclass
class _Rounds:
    """The baseline and the service in turn: rates by the clock, and by the processor time that each used."""

    bare: list[float] = field(default_factory=list)
    bare_by_processor: list[float] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    by_processor: list[float] = field(default_factory=list)

    @property
    def bare_rate(self) -> float:
        return statistics.median(self.bare)

    @property
    def rate(self) -> float:
        return statistics.median(tally.per_second for tally in self.tallies)

    def say_more(self, name: str) -> None:
        """The ratio that other work on the machine changes little, and what was refused."""
        ratio = statistics.median(self.by_processor) / statistics.median(self.bare_by_processor)
        report.line(f"{name}, by processor time", f"{ratio:.2f} x bare", "a busy machine changes it little")
        _say_refused(name, self.tallies)


def _interleaved(bare: str, server: Server, workers: int, step: Step) -> _Rounds:
    rounds = _Rounds()
    for _ in range(ROUNDS):
        rate, by_processor = _bare(bare)
        rounds.bare.append(rate)
        rounds.bare_by_processor.append(by_processor)
        worked = server.processor_seconds()
        tally = _run(closed_loop(_port(server), workers, SECONDS, step))
        rounds.tallies.append(tally)
        rounds.by_processor.append(tally.statuses[200] / (server.processor_seconds() - worked))
    return rounds


class _RefreshClient:
    """Holds the newest token of each session that was used."""

    def __init__(self) -> None:
        self.stored = 0
        self._newest: dict[int, str] = {}

    async def refresh(self, connection: Connection, number: int) -> int:
        """Use a session that no other worker uses."""
        chosen = random.randrange(self.stored // REFRESH_WORKERS) * REFRESH_WORKERS + number
        token = self._newest.get(chosen) or first_token(chosen).clear_text()
        body = f"grant_type=refresh_token&refresh_token={token}".encode()
        status, content = await connection.send("POST", "/token", body, FORM)
        if status == 200:
            self._newest[chosen] = json.loads(content)["refresh_token"]
        return status


@contextlib.contextmanager
def _service(folder: Path, url: str) -> Iterator[Server]:
    settings = {"AUTH_DATABASE_URL": url, "AUTH_TRUSTED_PROXIES": '["127.0.0.1"]', "AUTH_LOG_LEVEL": "error"}
    if not url.startswith("sqlite"):
        settings["AUTH_MASTER_KEY"] = _MASTER_KEY
    with auth_service(folder, None, **settings) as server:
        yield server


_MASTER_KEY = new_master_key()


def _bare(kind: str) -> tuple[float, float]:
    """Calls a second, of the clock and of the processor, on the service's core, while the service has nothing to do."""
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "tests.bench.bare_crypto", kind, "2"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout.split()
    return float(output[0]), float(output[1])


_run = uvloop.run


def _port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def _say_refused(name: str, tallies: list[Tally]) -> None:
    refused = sum((tally.statuses for tally in tallies), start=type(tallies[0].statuses)())
    del refused[200]
    if refused:
        report.line(f"{name}: refused", str(refused.total()), f"must be 0: {dict(refused)}")


def _load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())
