"""The only place that asks the machine what time it is.

Everything else takes a `Clock`, so a test can stand at any instant and step over a boundary. The linter
refuses the ambient clock elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings and a way to wait for the second of them to pass."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch (the `NumericDate` of RFC 7519 section 2)."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Return once `monotonic` has grown by `seconds`."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
