"""The baselines of the auth service: `python -m tests.bench.bare_crypto argon2|rsa SECONDS` prints calls a second,
of the clock and of the processor."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import argon2

from auth_service.identity.passwords import OWASP_ARGON2ID
from auth_service.keys.private_key import PrivateKey

MESSAGE = b"x" * 700
"""About what is signed of an access token."""


def _argon2() -> Callable[[], object]:
    hasher = argon2.PasswordHasher.from_parameters(OWASP_ARGON2ID)
    password_hash = hasher.hash("a long bench password")
    return lambda: hasher.verify(password_hash, "a long bench password")


def _rsa() -> Callable[[], object]:
    key = PrivateKey.generate(2_048)
    return lambda: key.sign(MESSAGE)


def main(kind: str, seconds: float) -> None:
    call = {"argon2": _argon2, "rsa": _rsa}[kind]()
    call()
    calls, begun, worked = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - begun) < seconds:
        call()
        calls += 1
    sys.stdout.write(f"{calls / spent} {calls / (time.process_time() - worked)}\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
