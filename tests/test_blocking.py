"""The watch for what blocks the loop leaves nothing behind: a function still patched would fail tests that follow."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.blocking import nothing_blocks


@pytest.mark.parametrize("stops_first", [0, 1])
def test_the_watch_ends_with_the_last_service_whichever_that_is(stops_first: int) -> None:
    """Two services begin one after the other and end in either order."""
    unwatched = time.sleep
    services = [ExitStack(), ExitStack()]
    for service in services:
        service.enter_context(nothing_blocks())
    services.pop(stops_first).close()
    assert time.sleep is not unwatched
    services.pop().close()
    assert time.sleep is unwatched
