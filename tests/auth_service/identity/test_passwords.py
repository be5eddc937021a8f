"""Hashing: the profile, the exactness, the bounded pool."""

from __future__ import annotations

import asyncio
import ctypes
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auth_service.identity.passwords import MAX_CHARACTERS, PasswordHasher
from shared.errors import Unavailable
from tests.auth_service.identity.hashing import CHEAP, OLDER

PASSWORD = "correct horse battery"


async def test_the_profile_is_the_one_owasp_names() -> None:
    """Argon2id, version 19, m=19456 KiB, t=2, p=1, a 16-byte salt and a 32-byte hash."""
    hasher = PasswordHasher(threads=1, queue_length=0)
    password_hash = await hasher.hash(PASSWORD)
    _, kind, version, costs, salt, digest = password_hash.split("$")
    assert (kind, version, costs) == ("argon2id", "v=19", "m=19456,t=2,p=1")
    assert (len(salt) * 6 // 8, len(digest) * 6 // 8) == (16, 32)
    assert await hasher.verify(password_hash, PASSWORD)
    assert not hasher.needs_rehash(password_hash)
    await hasher.close()


@pytest.mark.parametrize(
    "password",
    [
        " leading and trailing ",
        "tab\tand\nnewline",
        "nul\x00inside",
        "pässwörd",
        "pa\u0308sswo\u0308rd",
        "\uff30\uff21\uff33\uff33",
        "🌊" * MAX_CHARACTERS,
        "x" * MAX_CHARACTERS,
    ],
)
async def test_a_password_is_taken_exactly_as_sent(hasher: PasswordHasher, password: str) -> None:
    """Every code point counts, and nothing but the same code points matches (ASVS 5.0 6.2.8)."""
    password_hash = await hasher.hash(password)
    assert await hasher.verify(password_hash, password)
    for other in (password.strip() + "x", password[:-1], password + "\x00", password.swapcase() + " "):
        assert not await hasher.verify(password_hash, other)


async def test_composed_and_decomposed_are_two_passwords(hasher: PasswordHasher) -> None:
    """No normalisation: what looks the same but is sent otherwise is another password."""
    assert not await hasher.verify(await hasher.hash("p\xe4ssword"), "pa\u0308ssword")


@pytest.mark.parametrize("presented", ["", "null", "None", "x" * 8, "\ud800", "x" * (MAX_CHARACTERS + 1)])
async def test_nothing_matches_where_there_is_no_password(hasher: PasswordHasher, presented: str) -> None:
    """An unknown name and an account without password are proved by no string (hostile case: CVE-2026-41571)."""
    assert not await hasher.verify(None, presented)


async def test_an_unknown_name_costs_a_hash_of_the_same_profile(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash that stands in for none has today's parameters, so it costs the same."""
    seen: list[str] = []

    def record(_self: object, password_hash: str, _password: str) -> bool:
        seen.append(password_hash)
        return False

    monkeypatch.setattr("argon2.PasswordHasher.verify", record)
    await hasher.verify(None, PASSWORD)
    await hasher.verify("$argon2id$real", PASSWORD)
    assert len(seen) == 2
    assert not hasher.needs_rehash(seen[0])


async def test_an_older_profile_is_noticed(hasher: PasswordHasher) -> None:
    """Its passwords still verify, and are known to want a new hash."""
    older = PasswordHasher(threads=1, queue_length=0, profile=OLDER)
    password_hash = await older.hash(PASSWORD)
    assert await hasher.verify(password_hash, PASSWORD)
    assert hasher.needs_rehash(password_hash)
    await older.close()


class Gate:
    """Holds every hash until it is opened, and counts how many run at once."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.running = 0
        self.most = 0

    def open(self) -> None:
        self._open.set()

    def wrap(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: object) -> object:
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self._open.wait(10)
            with self._lock:
                self.running -= 1
            return work(*arguments)

        return held


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr("argon2.PasswordHasher.hash", made.wrap(lambda *_arguments: "$hash"))
    return made


async def test_the_queue_is_bounded(gate: Gate) -> None:
    """Two hash, three wait, the sixth is refused at once with a time to come back; afterwards all goes on."""
    hasher = PasswordHasher(threads=2, queue_length=3, profile=CHEAP)
    waiting = [asyncio.ensure_future(hasher.hash(PASSWORD)) for _ in range(5)]
    await asyncio.sleep(0)
    assert hasher.pending == 5
    with pytest.raises(Unavailable) as refused:
        await hasher.hash(PASSWORD)
    assert refused.value.retry_after == 2
    with pytest.raises(Unavailable):
        await hasher.verify(None, PASSWORD)
    gate.open()
    assert await asyncio.gather(*waiting) == ["$hash"] * 5
    assert gate.most == 2
    assert hasher.pending == 0
    assert await hasher.hash(PASSWORD) == "$hash"
    await hasher.close()


async def test_a_caller_that_leaves_gives_its_place_back(gate: Gate) -> None:
    """A cancelled wait is not hashed later, and does not count."""
    hasher = PasswordHasher(threads=1, queue_length=1, profile=CHEAP)
    running = asyncio.ensure_future(hasher.hash(PASSWORD))
    leaving = asyncio.ensure_future(hasher.hash(PASSWORD))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert hasher.pending == 1
    staying = asyncio.ensure_future(hasher.hash(PASSWORD))
    gate.open()
    assert [await running, await staying] == ["$hash", "$hash"]
    await hasher.close()


async def test_a_password_too_long_is_refused_before_hashing(gate: Gate, hasher: PasswordHasher) -> None:
    """Megabytes cost nothing (hostile case: CVE-2026-26233)."""
    assert not await hasher.verify("$argon2id$real", "x" * 1_000_000)
    assert gate.most == 0
    gate.open()


async def test_the_loop_goes_on_while_passwords_are_hashed() -> None:
    """Hashing happens on threads: the loop turns many times meanwhile."""
    hasher = PasswordHasher(threads=1, queue_length=10)
    hashing = asyncio.gather(*(hasher.hash(PASSWORD) for _ in range(4)))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 10
    await hasher.close()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs the allocator of glibc")
async def test_hashes_that_wait_reuse_the_memory_of_those_before() -> None:
    """In a burst the memory of a hash is not fetched from the system anew; when nothing waits it is given back."""
    hasher = PasswordHasher(threads=1, queue_length=20)
    password_hash = await hasher.hash(PASSWORD)
    alone, before = page_faults(), resident_kilobytes()
    await hasher.verify(password_hash, PASSWORD)
    alone = page_faults() - alone
    burst = page_faults()
    await asyncio.gather(*(hasher.verify(password_hash, PASSWORD) for _ in range(20)))
    burst = page_faults() - burst
    await hasher.close()
    assert burst < 3 * alone
    assert resident_kilobytes() < before + 10_000


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident_kilobytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))
