"""Start, memory and request rates of the two services as they ship."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable

from tests.bench import report
from tests.bench.clients import call, sign_up
from tests.bench.load import Load, interleaved, wrk
from tests.bench.processes import auth_service, bare_server, resource_service, work_folder

STARTS = 5
REQUESTS = 10_000


def main() -> None:
    _starts()
    _memory_and_rates()


def _starts() -> None:
    report.heading(f"Start: from process start to the first 200 on /readyz, warm disk, median of {STARTS}")
    bare, auth, resource = [], [], []
    with work_folder() as folder:
        with auth_service(folder):
            pass  # the first start makes the key and the schema; it is measured apart, below
        with auth_service(folder) as issuer, resource_service(folder, issuer.url):
            pass
        for _ in range(STARTS):
            with bare_server() as server:
                bare.append(server.start_seconds)
            with auth_service(folder) as issuer:
                auth.append(issuer.start_seconds)
                with resource_service(folder, issuer.url) as server:
                    resource.append(server.start_seconds)
    base = statistics.median(bare)
    report.line("bare aiohttp", f"{base:.2f} s", "baseline")
    for name, seconds in (("auth service", statistics.median(auth)), ("resource service", statistics.median(resource))):
        report.line(name, f"{seconds:.2f} s", f"target 1 s; {seconds / base:.1f} x bare")
    with work_folder() as folder, auth_service(folder) as first:
        report.line("auth service, very first start (makes schema and key)", f"{first.start_seconds:.2f} s")


def _memory_and_rates() -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        with auth_service(folder) as first, resource_service(folder, first.url):
            pass  # a first start migrates, and Alembic stays in its memory; a service's life is the later ones
        bare = stack.enter_context(bare_server())
        auth = stack.enter_context(auth_service(folder))
        resource = stack.enter_context(resource_service(folder, auth.url))
        report.heading("Resident memory")
        fresh = (bare.resident_megabytes(), auth.resident_megabytes(), resource.resident_megabytes())
        token = sign_up(auth.url, "bench")
        call("PUT", f"{resource.url}/userData/greeting", "hello", token)
        headers = {"Authorization": f"Bearer {token}"}
        key_set, data = f"{auth.url}/.well-known/jwks.json", f"{resource.url}/userData"
        _send(lambda: wrk(bare.url + "/", seconds=1))
        _send(lambda: wrk(key_set, seconds=1))
        _send(lambda: wrk(data, headers=headers, seconds=1))
        used = (bare.resident_megabytes(), auth.resident_megabytes(), resource.resident_megabytes())
        targets = ("baseline", "target 80 MB", "target 65 MB")
        names = ("bare aiohttp", "auth service", "resource service")
        for name, before, after, target in zip(names, fresh, used, targets, strict=True):
            report.line(name, f"{before:.0f} / {after:.0f} MB", f"after start / after {REQUESTS:,} requests; {target}")

        report.heading("Requests a second, one core, medians of three interleaved rounds")
        verify = f"{resource.url}/verify"
        loads = interleaved(
            {
                "bare": lambda: wrk(bare.url + "/"),
                "key set": lambda: wrk(key_set),
                "protected, no storage (GET /verify)": lambda: wrk(verify, headers=headers),
                "protected, stored data (GET /userData)": lambda: wrk(data, headers=headers),
            }
        )
    base = loads["bare"].per_second
    report.line("bare aiohttp handler", f"{base:,.0f}", f"baseline, p99 {loads['bare'].p99_milliseconds:.1f} ms")
    for name, load in loads.items():
        if name == "bare":
            continue
        figure = f"{load.per_second / base:.2f} x bare"
        report.line(name, figure, f"target 0.80 ({load.per_second:,.0f}/s, p99 {load.p99_milliseconds:.1f} ms)")
        if load.refused:
            report.line(f"{name}: refused", str(load.refused), "must be 0")


def _send(one_second: Callable[[], Load]) -> None:
    """At least REQUESTS requests, a second at a time, for half a minute at most."""
    sent = 0.0
    for _ in range(30):
        sent += one_second().per_second
        if sent >= REQUESTS:
            return
    raise RuntimeError(f"only {sent:.0f} requests were answered")
