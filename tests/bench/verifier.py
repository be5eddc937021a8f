"""What it costs to verify a token: in process, and over HTTP beside a bare handler and the tutorials' server."""

from __future__ import annotations

import contextlib
import http.server
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from shared import base64url
from shared.access_token import AccessTokenDecoder
from shared.token_rules import TokenRules
from tests.bench import report
from tests.bench.load import ROUNDS, Load, interleaved, wrk
from tests.bench.processes import ROOT, free_port, protected_server, work_folder
from tests.bench.protected import AUDIENCE
from tests.protocol.minting import key_set_of, mint, signing_key

ISSUER = "https://login.example"
TOKEN_SECONDS = 900
ROTATION = 10_000
MORE_THAN_THE_CACHE = 40_000
"""In rotation, each is put out of the cache (16,384 tokens) before it comes again: to the server it is always new."""
CALLS, REPEATS = 300, 15
FLOOD_RATE, FLOOD_SECONDS = 1_000, 6
BOTH_CORES = "0,1"
_LUA = """
local requests, last = {}, 0
function init()
  for token in io.lines("%s") do
    wrk.headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET", "/")
  end
end
function request()
  last = last %% #requests + 1
  return requests[last]
end
"""


def main() -> None:
    report.heading(f"The machine's load average at the start: {_load_average()}")
    _in_process()
    with work_folder() as folder, _key_server() as keys:
        _over_http(folder, keys)
        _flood(folder, keys)
        _all_cores(folder, keys)
    report.line("load average at the end", _load_average())


def _in_process() -> None:
    """One call each, in turn; the medians of the rounds."""
    token, key = _token(0), signing_key()
    signing_input, _, segment = token.encode().rpartition(b".")
    signature, public_key = base64url.decode(segment.decode()), key.private_key.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    decoder, by_kid = AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE)), {key.kid: key.public_jwk}
    scheme, digest, now = padding.PKCS1v15(), SHA256(), float(int(time.time()))
    jwk = jwt.PyJWK(key.public_jwk.as_json_object())
    candidates: dict[str, Callable[[], object]] = {
        "bare": lambda: public_key.verify(signature, signing_input, scheme, digest),
        "strict": lambda: decoder.decode(token, by_kid, now),
        "jwt.decode": lambda: jwt.decode(token, jwk, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER),
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(REPEATS):
        for name, call in candidates.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name].append((time.perf_counter() - started) / CALLS * 1e6)
    micro = {name: statistics.median(rounds) for name, rounds in times.items()}
    report.heading(f"One verification, no cache, {len(token)} characters, medians of {REPEATS} interleaved rounds")
    report.line("cryptography, the signature alone", f"{micro['bare']:.1f} us", "baseline")
    for name, target in (("strict", "target 1.8"), ("jwt.decode", "")):
        report.line(name, f"{micro[name] / micro['bare']:.2f} x bare", f"{target} ({micro[name]:.1f} us)")


def _over_http(folder: Path, keys: str) -> None:
    one = _script(folder, "one", 1)
    many = _script(folder, "many", ROTATION)
    always_new = _script(folder, "new", MORE_THAN_THE_CACHE)
    with contextlib.ExitStack() as stack:
        servers = {
            kind: stack.enter_context(protected_server(kind, ISSUER, keys)).url + "/"
            for kind in ("bare", "protection", "tutorial")
        }
        runs: dict[str, Callable[[], Load]] = {}
        for name, script in (("one", one), ("many", many), ("new", always_new)):
            for kind in ("bare", "protection"):
                runs[f"{kind} {name}"] = partial(wrk, servers[kind], script=script)
        runs["tutorial one"] = partial(wrk, servers["tutorial"], script=one)
        runs["tutorial many"] = partial(wrk, servers["tutorial"], script=many)
        for script in (many, always_new):
            wrk(servers["protection"], script=script, seconds=2)
        loads = interleaved(runs)
    report.heading(
        f"A protected request, one core, medians of {ROUNDS} interleaved rounds; bare: the same, unprotected"
    )
    rows = (
        ("one", "one token", "target 0.85"),
        ("many", f"{ROTATION:,} tokens in rotation", "target 0.80"),
        ("new", "each token new", "target 0.45"),
    )
    for name, title, target in rows:
        _compare(title, loads[f"protection {name}"], loads[f"bare {name}"], target)
    for name, title, _ in rows[:2]:
        ratio = loads[f"protection {name}"].per_second / loads[f"tutorial {name}"].per_second
        rate = loads[f"tutorial {name}"].per_second
        report.line(f"{title}, beside the tutorials' server", f"{ratio:.1f} x", f"target 5 (theirs {rate:,.0f}/s)")


def _flood(folder: Path, keys: str) -> None:
    """wrk's 64 connections, one valid token, with and without 1,000 requests a second of unknown keys."""
    script = _script(folder, "one", 1)
    with protected_server("protection", ISSUER, keys) as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "tests.end_to_end.flood", port, ISSUER, AUDIENCE, str(FLOOD_RATE)]

        def flooded() -> Load:
            flood = subprocess.Popen([*command, str(FLOOD_SECONDS)], cwd=ROOT, stdout=subprocess.DEVNULL)
            time.sleep(1)  # it has begun
            load = wrk(server.url + "/", script=script)
            flood.wait(30)
            return load

        loads = interleaved({"quiet": lambda: wrk(server.url + "/", script=script), "flood": flooded})
    report.heading(f"Valid requests in a flood of {FLOOD_RATE:,} requests a second with random key ids")
    quiet, flood = loads["quiet"].p99_milliseconds, loads["flood"].p99_milliseconds
    report.line("99th percentile", f"{flood / quiet:.2f} x quiet", f"target 1.5 ({flood:.1f} ms, quiet {quiet:.1f} ms)")
    report.line("refused", str(loads["flood"].refused + loads["quiet"].refused), "must be 0")


def _all_cores(folder: Path, keys: str) -> None:
    """A process on each core behind one port; wrk has no core of its own then."""
    cores = sorted(os.sched_getaffinity(0))
    script = _script(folder, "many", ROTATION)
    with contextlib.ExitStack() as stack:
        urls = {}
        for kind in ("bare", "protection"):
            port = free_port()
            for core in cores:
                server = stack.enter_context(protected_server(kind, ISSUER, keys, port=port, core=str(core)))
                urls[kind] = server.url + "/"
        time.sleep(1)
        anywhere = ",".join(map(str, cores))
        loads = interleaved({kind: partial(wrk, url, script=script, core=anywhere) for kind, url in urls.items()})
    report.heading(f"{len(cores)} processes on {len(cores)} cores, wrk on the same")
    _compare(f"{ROTATION:,} tokens in rotation", loads["protection"], loads["bare"], "target 0.80")


def _compare(title: str, ours: Load, bare: Load, target: str) -> None:
    ratio = ours.per_second / bare.per_second
    report.line(
        title, f"{ratio:.2f} x bare", f"{target} ({ours.per_second:,.0f}/s, p99 {ours.p99_milliseconds:.1f} ms)"
    )
    if ours.refused:
        report.line(f"{title}: refused", str(ours.refused), "must be 0")


def _token(number: int) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + TOKEN_SECONDS, "auth_time": now}
    return mint(claims={**claims, "jti": f"token-{number:020}"})


def _script(folder: Path, name: str, count: int) -> Path:
    script, tokens = folder / f"{name}.lua", folder / f"{name}.txt"
    if not script.exists():
        tokens.write_text("".join(f"{_token(number)}\n" for number in range(count)))
        script.write_text(_LUA % tokens)
    return script


@contextlib.contextmanager
def _key_server() -> Iterator[str]:
    """Publishes the key, from a thread of this process."""
    body = key_set_of(signing_key())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())
