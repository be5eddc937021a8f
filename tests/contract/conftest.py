"""Both services, running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import SystemClock
from tests.clock import FrozenClock
from tests.contract.running import BothServices


@pytest.fixture
def clock() -> FrozenClock:
    """Stands still at the real time: other implementations look at the machine's clock."""
    return FrozenClock(float(int(SystemClock().now())))


@pytest.fixture
async def both(tmp_path: Path, clock: FrozenClock) -> AsyncIterator[BothServices]:
    """The auth service and the resource service, each on a port and a store of its own."""
    services = BothServices(tmp_path, clock)
    try:
        await services.start_auth()
        await services.start_resource()
        yield services
    finally:
        await services.stop()
