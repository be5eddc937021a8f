"""How often callers may make us ask the issuer again."""

from __future__ import annotations

from collections import deque
from typing import Final

from shared.clock import Clock

BURST: Final = 2
REFILL_SECONDS: Final = 30.0
"""Two attempts at once, then one in 30 s; never more than two in any 30 s, whatever callers send."""


class AttemptGate:
    """A bucket of attempts. An attempt comes back `refill_seconds` after it was taken or the one before it came back.

    So the long-run rate is that of the refill, and no window of `refill_seconds` holds more than the burst.
    """

    def __init__(self, clock: Clock, *, burst: int = BURST, refill_seconds: float = REFILL_SECONDS) -> None:
        self._clock = clock
        self._burst = burst
        self._refill_seconds = refill_seconds
        self._returns: deque[float] = deque()

    @property
    def is_open(self) -> bool:
        """Whether an attempt would be let through now."""
        self._take_back()
        return len(self._returns) < self._burst

    def try_pass(self) -> bool:
        """Take one attempt; False when none is left. It is spent whatever comes of it."""
        if not self.is_open:
            return False
        last = self._returns[-1] if self._returns else 0.0
        self._returns.append(max(self._clock.monotonic(), last) + self._refill_seconds)
        return True

    def _take_back(self) -> None:
        now = self._clock.monotonic()
        while self._returns and self._returns[0] <= now:
            self._returns.popleft()
