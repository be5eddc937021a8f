"""Password hashing: one named profile, in a pool of threads that cannot be made to grow.

A hash takes about 25 ms of a core and 19 MiB, and the library lets other threads run meanwhile. So the pool has a
thread for each core, and what would wait too long is refused with 503 at once: a queue without bound only turns a
flood into timeouts. Passwords are hashed exactly as sent; nothing is trimmed, folded or normalised (ASVS 5.0 6.2.8).
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from shared.errors import Unavailable
from shared.memory import ReusedBlocks

T = TypeVar("T")

OWASP_ARGON2ID = argon2.Parameters(
    type=argon2.Type.ID,
    version=19,
    salt_len=16,
    hash_len=32,
    time_cost=2,
    memory_cost=19_456,
    parallelism=1,
)
"""Argon2id with m=19 MiB, t=2, p=1: OWASP Password Storage Cheat Sheet; ASVS 5.0 appendix C."""

MAX_CHARACTERS = 1_024
"""The longest password, code points, so at most 4,096 bytes of UTF-8. Longer ones are refused before hashing."""
RETRY_SECONDS = 2
"""What a caller is told when the queue is full: by then a queue of the default length is empty again."""


class PasswordHasher:
    """Hashes and verifies passwords off the event loop.

    `threads` hash at a time and `queue_length` more may wait; beyond that every method raises `Unavailable`.
    """

    def __init__(self, *, threads: int, queue_length: int, profile: argon2.Parameters = OWASP_ARGON2ID) -> None:
        self._argon2 = argon2.PasswordHasher.from_parameters(profile)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password-hash")
        self._threads = threads
        self._capacity = threads + queue_length
        self._memory = ReusedBlocks()
        self._nobodys_hash = _hash_that_nothing_matches(profile)
        self.pending = 0
        """Passwords that are being hashed or wait for it."""

    def require_room(self) -> None:
        """Raise Unavailable when a password could not be taken on now: to be asked before anything is written."""
        if self.pending >= self._capacity:
            raise Unavailable("Too many passwords are being checked.", retry_after=RETRY_SECONDS)

    async def hash(self, password: str) -> str:
        """The PHC string of a password that the policy accepted."""
        return await self._run(lambda: self._argon2.hash(password))

    async def verify(self, password_hash: str | None, presented_password: str) -> bool:
        """Whether `presented_password` is the one behind the hash.

        With None, for a name that has no account or an account that has no password, the answer is False after the
        same work. A password that no account can have is refused without work, whatever the hash.
        """
        if len(presented_password) > MAX_CHARACTERS or not is_unicode(presented_password):
            return False
        return await self._run(lambda: self._matches(password_hash or self._nobodys_hash, presented_password))

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made under another profile than today's."""
        return self._argon2.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """Finish what runs and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    def _matches(self, password_hash: str, presented_password: str) -> bool:
        try:
            return self._argon2.verify(password_hash, presented_password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        self.require_room()
        self.pending += 1
        self._memory.expect(more=self.pending > self._threads)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, work)
        finally:
            self.pending -= 1
            self._memory.expect(more=self.pending > self._threads)

    def _work(self, work: Callable[[], T]) -> T:
        result = work()
        if self.pending <= 1:
            self._memory.give_back()
        return result


def is_unicode(text: str) -> bool:
    """Whether `text` can be encoded: JSON can smuggle lone surrogates into a string."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash_that_nothing_matches(profile: argon2.Parameters) -> str:
    # A digest that was drawn and not computed: to verify against it costs what any other hash of the profile costs.
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode("ascii")
        for length in (profile.salt_len, profile.hash_len)
    )
    costs = f"m={profile.memory_cost},t={profile.time_cost},p={profile.parallelism}"
    return f"$argon2id$v={profile.version}${costs}${salt}${digest}"
