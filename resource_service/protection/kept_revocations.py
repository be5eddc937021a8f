"""What a feed has told, on disk: a service that starts while its issuer is down still refuses what it had heard of.

The file holds documents as the issuer signed them, one a line, behind the instant at which the last of its entries is
void. They are verified again when they are read, so what was tampered with, torn or another issuer's is passed over.
The file never says how far the feed was read: it can add to what is refused, and hide nothing.

Documents are added at the end, about once a second; a crash of the machine may cost the last ones. When the file has
doubled, what has expired is left out of a new one that takes its place.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from resource_service.protection.revocation import EXPIRY_MARGIN_SECONDS
from shared.clock import Clock
from shared.private_files import make_private_file, write_private_file
from shared.revocation_feed import MAX_DOCUMENT_BYTES, RevocationDocument

log = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 1.0
"""The least between two writes."""
PART_BYTES: Final = 65_536
"""Read at a time: some 70 documents of one ending each, which take 5 ms to verify."""
MAX_LINE_BYTES: Final = MAX_DOCUMENT_BYTES + 32
MAX_FILE_BYTES: Final = 134_217_728
"""What 2,000,000 entries take in full documents, and a little more. Beyond it the oldest go, down to half of it."""
MAX_PENDING_BYTES: Final = 33_554_432
"""Not written yet, because the disk is slow or full; what comes then is not kept."""
SLACK_BYTES: Final = 1_048_576
"""A file that has not grown by so much is not written anew."""
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
MAX_DIGITS: Final = 16


class KeptRevocations:
    """The documents of one issuer's feed that are not void yet; a file that fails costs a warning and nothing else."""

    def __init__(self, path: Path, issuer: str, clock: Clock) -> None:
        self._path = path
        self._issuer = issuer
        self._clock = clock
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._arrived = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._sweep_at = SLACK_BYTES
        self._is_failing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is kept from entering to leaving, and the rest of it then."""
        task = asyncio.create_task(self._write_for_ever(), name=f"kept revocations of {self._issuer}")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            # One that is under way goes on in its thread whoever leaves, so it comes to its end first.
            if self._writing is not None:
                await self._writing
            await self._write()

    def keep(self, body: bytes, document: RevocationDocument) -> None:
        """Have a document written that was verified and told something new. Waits for nothing."""
        last = max((group.expires_at for group in document.groups), default=0)
        line = b"%d %b\n" % (last + EXPIRY_MARGIN_SECONDS, body)
        if self._pending_bytes + len(line) > MAX_PENDING_BYTES:
            self._fail("Pending")
            return
        self._pending.append(line)
        self._pending_bytes += len(line)
        self._arrived.set()

    async def load(self) -> AsyncGenerator[Sequence[bytes], None]:
        """The documents that were kept and are not void yet, unverified, oldest first, a few at a time."""
        try:
            with await self._opened() as file:
                while lines := await asyncio.to_thread(_read_part, file, self._clock.now()):
                    yield [line.partition(b" ")[2].rstrip(b"\n") for line in lines]
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("kept_revocations_not_used", issuer=self._issuer, cause=type(error).__name__)

    async def _opened(self) -> BinaryIO:
        opening = asyncio.create_task(asyncio.to_thread(self._open))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # It goes on in its thread whoever leaves, and somebody has to close what it opens.
            with suppress(OSError):
                (await opening).close()
            raise

    async def _write_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._writing = asyncio.create_task(self._write(), name=f"write of revocations of {self._issuer}")
            await asyncio.shield(self._writing)
            await self._clock.sleep(WRITE_SECONDS)

    async def _write(self) -> None:
        lines, self._pending, self._pending_bytes = self._pending, [], 0
        self._arrived.clear()
        if not lines:
            return
        try:
            await asyncio.to_thread(self._add, lines, self._clock.now())
        except OSError as error:
            # Kept for the next time: what was revoked stays so whether the disk is full or not.
            self._pending[:0] = lines
            self._pending_bytes += sum(map(len, lines))
            self._arrived.set()
            self._fail(type(error).__name__)
        else:
            self._is_failing = False

    def _fail(self, cause: str) -> None:
        if not self._is_failing:
            log.warning("kept_revocations_not_written", issuer=self._issuer, cause=cause)
        self._is_failing = True

    def _open(self) -> BinaryIO:
        if self._path.stat().st_mode & WRITABLE_BY_OTHERS:
            raise PermissionError("others may write it")
        return self._path.open("rb")

    def _add(self, lines: Sequence[bytes], now: float) -> None:
        make_private_file(self._path)
        with _alone_in(self._path.parent):
            self._add_alone(lines, now)

    def _add_alone(self, lines: Sequence[bytes], now: float) -> None:
        if self._path.stat().st_mode & WRITABLE_BY_OTHERS:
            # Nothing in it is used, so nothing is lost with it.
            self._path.unlink()
            make_private_file(self._path)
        if self._path.stat().st_size >= MAX_FILE_BYTES:
            self._sweep(now)  # to a file that cannot be made smaller nothing is added
        before = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                # A line of its own, whatever a crash has left of the last one.
                file.write(b"\n")
                file.writelines(lines)
                size = file.tell()
        except OSError:
            # They come again: what a full disk has taken of them would be there twice.
            os.truncate(self._path, before)
            raise
        if size >= min(self._sweep_at, MAX_FILE_BYTES):
            try:
                self._sweep(now)
            except OSError as error:
                # What was to be kept is kept; to say that it is not would have it written again and again.
                self._sweep_at = size + SLACK_BYTES
                self._fail(type(error).__name__)

    def _sweep(self, now: float) -> None:
        """Write anew what is not void; when that is too much, the newer part of it."""
        with self._open() as file:
            surplus = sum(len(line) for line in _live_lines(file, now)) - MAX_FILE_BYTES // 2
            file.seek(0)
            write_private_file(self._path, _without(surplus, _live_lines(file, now)), replace=True)
        self._sweep_at = 2 * self._path.stat().st_size + SLACK_BYTES
        if surplus > 0:
            log.warning("kept_revocations_too_large", issuer=self._issuer, left_out_bytes=surplus)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that share the file from adding to it, or writing it anew, at the same time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_part(file: BinaryIO, now: float) -> Sequence[bytes]:
    """The next lines that are not void, about PART_BYTES of them; none at the end."""
    lines: list[bytes] = []
    size = 0
    if file.tell() > MAX_FILE_BYTES + MAX_PENDING_BYTES:
        return lines  # larger than any that is written here
    for line in _live_lines(file, now):
        lines.append(line)
        size += len(line)
        if size >= PART_BYTES:
            break
    return lines


def _live_lines(file: BinaryIO, now: float) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        instant = line.partition(b" ")[0]
        if line.endswith(b"\n") and len(instant) <= MAX_DIGITS and instant.isdigit() and int(instant) >= now:
            yield line


def _without(surplus: int, lines: Iterator[bytes]) -> Iterator[bytes]:
    """`lines` without the first ones, as many as have `surplus` bytes together."""
    for line in lines:
        if surplus > 0:
            surplus -= len(line)
        else:
            yield line
