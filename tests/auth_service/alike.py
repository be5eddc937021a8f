"""Whether kinds of requests take the same time, by the rule of the hostile cases (Timing and enumeration)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

SIGNIFICANCE = 0.01
TOLERANCE_SECONDS = 0.002


def assert_alike(reference: Sequence[float], others: Mapping[str, Sequence[float]]) -> None:
    """Against `reference` no kind differs with p < 0.01 (Mann-Whitney, two-sided), or else by less than 2 ms in median.

    The samples are seconds, taken in turn, so that whatever else the machine does hits all kinds alike.
    """
    found = {
        kind: (mann_whitney(reference, seconds), statistics.median(seconds) - statistics.median(reference))
        for kind, seconds in others.items()
    }
    for p, difference in found.values():
        assert p > SIGNIFICANCE or abs(difference) < TOLERANCE_SECONDS, found


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
