"""Both services, running."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import SystemClock
from tests.auth_service.conftest import prepared_folder
from tests.clock import FrozenClock
from tests.contract.running import BothServices

__all__ = ["prepared_folder"]


@pytest.fixture
def clock() -> FrozenClock:
    """Stands still at the real time: other implementations look at the machine's clock."""
    return FrozenClock(float(int(SystemClock().now())))


@pytest.fixture
async def both(tmp_path: Path, prepared_folder: Path, clock: FrozenClock) -> AsyncIterator[BothServices]:
    """The auth service and the resource service, each on a port and a store of its own."""
    shutil.copytree(prepared_folder, tmp_path / "auth")
    services = BothServices(tmp_path, clock)
    try:
        await services.start_auth()
        await services.start_resource()
        yield services
    finally:
        await services.stop()
