"""A service as a process whose clock a test moves, so that hours pass in seconds.

`python -m tests.end_to_end.moved_clock FILE auth|resource` starts the real service, configured by the environment,
with a `MovedClock` on FILE. Everything else is as it ships.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from shared.serving import Listener, run

POLL_SECONDS = 0.005
_OFFSET_BYTES = 8


class MovedClock:
    """The machine's clock plus an offset in seconds, which lies in a file that several processes map."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(_OFFSET_BYTES))
        with file.open("r+b") as opened:
            mapped = mmap.mmap(opened.fileno(), _OFFSET_BYTES)
        # Stored and loaded whole, as one word. `struct` clears the bytes before it fills them, and a process that
        # looked in between would for an instant be back where the test began, and see tokens from the future.
        self._offset = memoryview(mapped).cast("d")

    def now(self) -> float:
        return time.time() + self._offset[0]

    def monotonic(self) -> float:
        return time.monotonic() + self._offset[0]

    async def sleep(self, seconds: float) -> None:
        """Look again and again: whoever moves the clock is another process and wakes nobody."""
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:  # noqa: ASYNC110 - as it says above
            await asyncio.sleep(min(left, POLL_SECONDS))

    def advance(self, seconds: float) -> None:
        """Move both readings on, in every process."""
        self._offset[0] += seconds


@contextlib.asynccontextmanager
async def _open_resource(clock: MovedClock) -> AsyncIterator[Sequence[Listener]]:
    from resource_service.app import open_resource_service
    from resource_service.settings import ResourceSettings

    settings = ResourceSettings.load(os.environ)
    async with open_resource_service(settings, clock) as service:
        yield [
            Listener(service.app, settings.host, settings.port),
            Listener(service.metrics_app, settings.metrics_host, settings.metrics_port),
        ]


@contextlib.asynccontextmanager
async def _open_auth(clock: MovedClock) -> AsyncIterator[Sequence[Listener]]:
    from auth_service.app import open_auth_service
    from auth_service.settings import AuthSettings

    settings = AuthSettings.load(os.environ)
    async with open_auth_service(settings, clock) as service:
        yield [
            Listener(service.app, settings.host, settings.port),
            Listener(service.metrics_app, settings.metrics_host, settings.metrics_port),
        ]


def main(file: Path, service: str) -> int:
    clock = MovedClock(file)
    opened = {"auth": _open_auth, "resource": _open_resource}[service]
    return run(lambda: opened(clock), ready_line=f"{service} service ready")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
