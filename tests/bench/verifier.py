"""What it costs to verify a token: in process, and over HTTP beside a bare handler and the tutorials' server."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from shared import base64url
from shared.access_token import AccessTokenDecoder
from shared.token_rules import TokenRules
from tests.bench import report
from tests.bench.load import ROUNDS, Load, beside, interleaved, paced, wrk
from tests.bench.processes import free_port, protected_server, work_folder
from tests.bench.protected import AUDIENCE
from tests.protocol.minting import key_set_of, mint, signing_key

ISSUER = "https://login.example"
TOKEN_SECONDS = 900
ROTATION = 10_000
MORE_THAN_THE_CACHE = 40_000
"""In rotation, each is put out of the cache (16,384 tokens) before it comes again: to the server it is always new."""
CALLS, REPEATS = 300, 15
UNKNOWN_KEYS = 20_000
FLOOD_SECONDS = 5
FLOOD_CONNECTIONS, FLOOD_MILLISECONDS = 30, 30
"""A thousand a second, as long as each is answered at once."""
VALID_CONNECTIONS, VALID_MILLISECONDS = 10, 25
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
_PACE = """
function delay()
  return math.random(0, %d)
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


def _over_http(folder: Path, keys: KeyServer) -> None:
    one = _script(folder, "one", map(_token, range(1)))
    many = _script(folder, "many", map(_token, range(ROTATION)))
    always_new = _script(folder, "new", map(_token, range(MORE_THAN_THE_CACHE)))
    with contextlib.ExitStack() as stack:
        servers = {
            kind: stack.enter_context(protected_server(kind, ISSUER, keys.url)).url + "/"
            for kind in ("bare", "protection", "tutorial")
        }
        wrk(servers["protection"], script=many, seconds=2)
        loads = interleaved(_runs(servers, {"one": one, "many": many}, ("bare", "protection", "tutorial")))
        # By themselves, and last: they would put the others' tokens out of the cache.
        wrk(servers["protection"], script=always_new, seconds=2)
        loads |= interleaved(_runs(servers, {"new": always_new}, ("bare", "protection")))
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


def _runs(
    servers: Mapping[str, str], scripts: Mapping[str, Path], kinds: Sequence[str]
) -> dict[str, Callable[[], Load]]:
    return {
        f"{kind} {name}": partial(wrk, servers[kind], script=script)
        for name, script in scripts.items()
        for kind in kinds
    }


def _flood(folder: Path, keys: KeyServer) -> None:
    """Valid requests at a steady pace, with and without a flood of unknown keys; the key endpoint fails in both."""
    valid = _script(folder, "paced", [_token(0)], milliseconds=VALID_MILLISECONDS)
    unknown = _script(folder, "unknown", _unknown_keys(UNKNOWN_KEYS), milliseconds=FLOOD_MILLISECONDS)
    with protected_server("protection", ISSUER, keys.url) as server:
        keys.fails = True
        url = server.url + "/"
        send = partial(paced, url, valid, connections=VALID_CONNECTIONS, seconds=FLOOD_SECONDS)
        floods: list[Load] = []

        def flooded() -> Load:
            with beside(url, unknown, connections=FLOOD_CONNECTIONS, seconds=FLOOD_SECONDS + 2) as flood:
                time.sleep(1)  # it has begun
                load = send()
            floods.extend(flood)
            return load

        keys.asked = 0
        begun = time.monotonic()
        loads = interleaved({"quiet": send, "flood": flooded})
        seconds, asked = time.monotonic() - begun, keys.asked
        keys.fails = False
    rate = statistics.median(load.per_second for load in floods)
    report.heading(f"Valid requests in a flood of {rate:,.0f} a second with random key ids; the key endpoint fails")
    quiet, flood = loads["quiet"].p99_milliseconds, loads["flood"].p99_milliseconds
    report.line("99th percentile", f"{flood / quiet:.2f} x quiet", f"target 1.5 ({flood:.2f} ms, quiet {quiet:.2f} ms)")
    report.line("refused", str(loads["flood"].refused + loads["quiet"].refused), "must be 0")
    report.line("fetches", f"{asked / seconds * 30:.1f} in 30 s", "at most 2 of them for unknown keys")


def _all_cores(folder: Path, keys: KeyServer) -> None:
    """A process on each core behind one port; wrk has no core of its own then."""
    cores = sorted(os.sched_getaffinity(0))
    script = _script(folder, "many", map(_token, range(ROTATION)))
    with contextlib.ExitStack() as stack:
        urls = {}
        for kind in ("bare", "protection"):
            port = free_port()
            for core in cores:
                server = stack.enter_context(protected_server(kind, ISSUER, keys.url, port=port, core=str(core)))
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


def _unknown_keys(count: int) -> Iterator[str]:
    """Tokens that nobody signed, plausible but for the key id and the signature."""
    _, payload, _ = _token(0).split(".")
    for _ in range(count):
        header = {"alg": "RS256", "typ": "at+jwt", "kid": secrets.token_urlsafe(32)}
        encoded = base64url.encode(json.dumps(header).encode())
        yield f"{encoded}.{payload}.{base64url.encode(secrets.token_bytes(256))}"


def _script(folder: Path, name: str, tokens: Iterable[str], *, milliseconds: int = 0) -> Path:
    """A script that sends one token after the other, each connection with a pause of `milliseconds` on average."""
    script, listed = folder / f"{name}.lua", folder / f"{name}.txt"
    if not script.exists():
        listed.write_text("".join(f"{token}\n" for token in tokens))
        script.write_text(_LUA % listed + (_PACE % (2 * milliseconds) if milliseconds else ""))
    return script


@dataclass(slots=True)
class KeyServer:
    """Where the key is published; how often it was asked, and whether it is slow and fails."""

    url: str = ""
    asked: int = 0
    fails: bool = False


@contextlib.contextmanager
def _key_server() -> Iterator[KeyServer]:
    """Publishes the key, from a thread of this process."""
    body, state = key_set_of(signing_key()), KeyServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            if state.fails:
                time.sleep(1)
            self.send_response(503 if state.fails else 200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/keys"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _load_average() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())
