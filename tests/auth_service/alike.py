"""Whether kinds of requests take the same time, by the rule of the hostile cases (Timing and enumeration)."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter

SIGNIFICANCE = 0.01
TOLERANCE_SECONDS = 0.002
SETS = 3
"""A difference is believed when as many sets of samples, one after another, show it in the same direction: one set in a
hundred shows some by chance, and more do on a machine that is busy with other work."""

Attempt = Callable[[int], Awaitable[None]]
"""One request of a kind, by its number."""


async def assert_alike(reference: str, kinds: dict[str, Attempt], samples: int) -> None:
    """Against `reference` no kind differs with p < 0.01 (Mann-Whitney, two-sided), or else by less than 2 ms in median.

    So many samples of each kind are taken in turn, each turn in another order, so that whatever else the machine does,
    and whatever one request leaves to the next, hits all kinds alike.
    """
    suspects = {kind: 0.0 for kind in kinds if kind != reference}
    for number in range(SETS):
        taken = await _sample(kinds, samples)
        differences = {kind: _difference(taken[reference], taken[kind]) for kind in suspects}
        suspects = {
            kind: difference
            for kind, difference in differences.items()
            if difference and (number == 0 or difference * suspects[kind] > 0)
        }
        if not suspects:
            return
    raise AssertionError(f"seconds by which these take longer than {reference!r}: {suspects}")


async def _sample(kinds: dict[str, Attempt], samples: int) -> dict[str, list[float]]:
    chance = random.Random(samples)
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(samples):
        for kind in chance.sample(list(kinds), len(kinds)):
            begun = perf_counter()
            await kinds[kind](number)
            taken[kind].append(perf_counter() - begun)
    return taken


def _difference(reference: Sequence[float], seconds: Sequence[float]) -> float:
    """By how much the medians differ; 0 where that is within the rule."""
    difference = statistics.median(seconds) - statistics.median(reference)
    is_alike = abs(difference) < TOLERANCE_SECONDS or mann_whitney(reference, seconds) > SIGNIFICANCE
    return 0.0 if is_alike else difference


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p of Mann and Whitney's U for two samples, by the normal approximation with correction for ties."""
    pooled = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum, tied, position = 0.0, 0, 0
    while position < len(pooled):
        end = position
        while end < len(pooled) and pooled[end][0] == pooled[position][0]:
            end += 1
        count = end - position
        rank = (position + 1 + end) / 2
        rank_sum += rank * sum(1 for _, sample in pooled[position:end] if sample == 0)
        tied += count**3 - count
        position = end
    n, m = len(first), len(second)
    u = rank_sum - n * (n + 1) / 2
    variance = n * m / 12 * (n + m + 1 - tied / ((n + m) * (n + m - 1)))
    return math.erfc(abs(u - n * m / 2) / math.sqrt(2 * variance))
