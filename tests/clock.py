"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio


class FrozenClock:
    """Wall and monotonic time that move together, and only by `advance`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced past the wake-up time."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self._monotonic + seconds, woken)
        self._sleepers.append(sleeper)
        try:
            await woken
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Move both readings on and wake every sleeper whose time has come."""
        self._now += seconds
        self._monotonic += seconds
        for wake_at, woken in list(self._sleepers):
            if wake_at <= self._monotonic and not woken.done():
                woken.set_result(None)

    def skew(self, seconds: float) -> None:
        """Step the wall clock alone, as an administrator or NTP would."""
        self._now += seconds
