"""How long to wait before an issuer is asked again, and by how much such waits are spread."""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom
from typing import Final

MAX_DOUBLINGS: Final = 16
"""After which a wait is as long as ever; a bound for the power, not for the wait."""

_random = SystemRandom()


def spread(seconds: float, least: float, most: float) -> float:
    """A random share of `seconds` between `least` and `most`, so that many instances do not ask in step."""
    return seconds * _random.uniform(least, most)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` up to `most` seconds, each shorter by up to `jitter`, a share of it."""

    first: float
    most: float
    jitter: float

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, one at least."""
        wait = min(self.first * 2.0 ** min(failures - 1, MAX_DOUBLINGS), self.most)
        return spread(wait, 1 - self.jitter, 1)
