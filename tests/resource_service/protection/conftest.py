"""A clock that stands still and an issuer that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.clock import FrozenClock
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer, running_issuer


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def api(issuer: Issuer, clock: FrozenClock) -> AsyncIterator[Api]:
    """The sample application with its keys there."""
    async with running_api(resource_of(issuer), clock) as running:
        yield running
