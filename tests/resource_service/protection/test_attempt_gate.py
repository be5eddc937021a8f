"""The gate: never more than two attempts in any 30 s, and one in 30 s for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resource_service.protection.attempt_gate import BURST, REFILL_SECONDS, AttemptGate
from tests.clock import FrozenClock


def test_a_burst_and_then_one_at_a_time() -> None:
    """Two attempts at once, then one every 30 s, however often somebody tries."""
    clock = FrozenClock()
    gate = AttemptGate(clock)
    assert [gate.try_pass() for _ in range(4)] == [True, True, False, False]
    clock.advance(REFILL_SECONDS - 0.001)
    assert [gate.is_open, gate.try_pass()] == [False, False]
    clock.advance(0.001)
    assert [gate.is_open, gate.try_pass(), gate.try_pass()] == [True, True, False]
    clock.advance(1_000)
    assert [gate.try_pass() for _ in range(3)] == [True, True, False]


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60))
def test_no_window_holds_more_than_the_burst(waits: list[float]) -> None:
    """Whenever callers try, no window of 30 s sees a third attempt, and n attempts take (n - 2) times 30 s."""
    clock = FrozenClock()
    gate = AttemptGate(clock)
    passed = []
    for wait in waits:
        clock.advance(wait)
        if gate.try_pass():
            passed.append(clock.monotonic())
    for first, third in zip(passed, passed[BURST:], strict=False):
        assert third - first >= REFILL_SECONDS - 1e-6
    if passed:
        assert passed[-1] - passed[0] >= (len(passed) - BURST) * REFILL_SECONDS - 1e-6
