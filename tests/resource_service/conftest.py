"""Fixtures of the resource service's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clock import FrozenClock
from tests.issuer import LocalIssuer
from tests.resource_service.running import RunningResourceService, run_resource_service


@pytest.fixture
def clock() -> FrozenClock:
    """The time of everything in the test."""
    return FrozenClock()


@pytest.fixture
async def issuer(clock: FrozenClock) -> AsyncIterator[LocalIssuer]:
    """An issuer that answers."""
    async with LocalIssuer(clock).running() as issuer:
        yield issuer


@pytest.fixture
async def service(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> AsyncIterator[RunningResourceService]:
    """The resource service with its defaults."""
    async with run_resource_service(tmp_path, issuer, clock) as service:
        yield service
