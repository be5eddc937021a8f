"""Start, memory and request rates of the two services as they ship."""

from __future__ import annotations

import statistics
import time

from tests.bench import report
from tests.bench.clients import call, sign_up
from tests.bench.load import interleaved, wrk
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
    with work_folder() as folder, bare_server() as bare, auth_service(folder) as auth:
        with resource_service(folder, auth.url) as resource:
            report.heading("Resident memory")
            fresh = (bare.resident_megabytes(), auth.resident_megabytes(), resource.resident_megabytes())
            token = sign_up(auth.url, "bench")
            call("PUT", f"{resource.url}/userData/greeting", "hello", token)
            headers = {"Authorization": f"Bearer {token}"}
            key_set, data = f"{auth.url}/.well-known/jwks.json", f"{resource.url}/userData"
            _send(REQUESTS, lambda seconds: wrk(bare.url + "/", seconds=seconds).per_second * seconds)
            _send(REQUESTS, lambda seconds: wrk(key_set, seconds=seconds).per_second * seconds)
            _send(REQUESTS, lambda seconds: wrk(data, headers=headers, seconds=seconds).per_second * seconds)
            used = (bare.resident_megabytes(), auth.resident_megabytes(), resource.resident_megabytes())
            targets = ("baseline", "target 80 MB", "target 65 MB")
            names = ("bare aiohttp", "auth service", "resource service")
            for name, before, after, target in zip(names, fresh, used, targets, strict=True):
                report.line(
                    name, f"{before:.0f} / {after:.0f} MB", f"after start / after {REQUESTS:,} requests; {target}"
                )

            report.heading("Requests a second, one core, medians of three interleaved rounds")
            metadata = f"{resource.url}/.well-known/oauth-protected-resource"
            loads = interleaved(
                {
                    "bare": lambda: wrk(bare.url + "/"),
                    "key set": lambda: wrk(key_set),
                    "protected": lambda: wrk(data, headers=headers),
                    "metadata": lambda: wrk(metadata),
                }
            )
    base = loads["bare"].per_second
    report.line("bare aiohttp handler", f"{base:,.0f}", f"baseline, p99 {loads['bare'].p99_milliseconds:.1f} ms")
    targets_by_name = {"key set": "target 0.80", "protected": "target 0.80", "metadata": ""}
    for name, target in targets_by_name.items():
        load = loads[name]
        figure = f"{load.per_second / base:.2f} x bare"
        report.line(name, figure, f"{target} ({load.per_second:,.0f}/s, p99 {load.p99_milliseconds:.1f} ms)")
        if load.refused:
            report.line(f"{name}: refused", str(load.refused), "must be 0")


def _send(requests: int, run: object) -> None:
    sent = 0.0
    while sent < requests:
        begun = time.perf_counter()
        sent += run(1)  # type: ignore[operator]
        if time.perf_counter() - begun > 30:
            raise RuntimeError("the load generator hangs")
