"""A test that measures has the machine to itself: it is marked `alone`, and the other worker waits meanwhile."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Two files that are there anyway: only their locks are used.
_QUEUE = Path(__file__)
_TURN = Path(__file__).with_name("conftest.py")


@contextmanager
def turn(item: pytest.Item) -> Iterator[None]:
    """Until the block ends no test runs beside one that is alone."""
    how = fcntl.LOCK_SH if item.get_closest_marker("alone") is None else fcntl.LOCK_EX
    with _TURN.open("rb") as taken:
        with _QUEUE.open("rb") as queue:
            # Taken on the way only: who waits to be alone is not overtaken again and again.
            fcntl.flock(queue, fcntl.LOCK_EX)
            fcntl.flock(taken, how)
        yield
