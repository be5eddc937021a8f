"""The identity services over the real storage, with a frozen clock and a hash that costs next to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from auth_service.identity.accounts import Accounts
from auth_service.identity.devices import Devices
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import Sessions
from auth_service.identity.throttle import Throttle, ThrottleLimits
from auth_service.storage.storage import SqlStorage
from tests.auth_service.identity.hashing import CHEAP
from tests.auth_service.stored import NOW, POLICY
from tests.clock import FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
async def hasher() -> AsyncIterator[PasswordHasher]:
    opened = PasswordHasher(threads=2, queue_length=100, profile=CHEAP)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def password_policy() -> PasswordPolicy:
    return PasswordPolicy(["signet"])


@pytest.fixture
def throttle() -> Throttle:
    """With the limits that ship."""
    return Throttle(ThrottleLimits(), Devices([bytes(32)]))


@pytest.fixture
def accounts(
    storage: SqlStorage,
    hasher: PasswordHasher,
    password_policy: PasswordPolicy,
    throttle: Throttle,
    clock: FrozenClock,
) -> Accounts:
    return Accounts(storage, hasher, password_policy, throttle, clock)


@pytest.fixture
def sessions(storage: SqlStorage, clock: FrozenClock) -> Sessions:
    return Sessions(storage, POLICY, clock)
