"""How long to wait after failures."""

from __future__ import annotations

import pytest

from resource_service.protection.backoff import Backoff, spread


def test_waits_double_up_to_the_most() -> None:
    """Without jitter they are exact; no number of failures is too large."""
    backoff = Backoff(first=0.25, most=5.0, jitter=0.0)
    waits = [backoff.after(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 2_000)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize("jitter", [0.1, 0.5])
def test_jitter_only_shortens(jitter: float) -> None:
    """The most stays the most, so that whoever waits can be told when to come back."""
    waits = [Backoff(first=1.0, most=60.0, jitter=jitter).after(9) for _ in range(200)]
    assert all(60 * (1 - jitter) <= wait <= 60 for wait in waits)
    assert len(set(waits)) > 100


def test_a_spread_stays_between_its_shares() -> None:
    """Both ways, where that is asked for."""
    assert all(80 <= spread(100, 0.8, 1.2) <= 120 for _ in range(200))
