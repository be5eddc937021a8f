"""What the tests of the keys stand on: private keys made once, and the real storage."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from auth_service.keys.private_key import PrivateKey
from auth_service.keys.sealing import MasterKey, MasterKeys, new_master_key
from auth_service.model.storage import Records, Storage
from auth_service.storage.storage import MIGRATIONS
from shared.transactions import DatabaseUnavailable
from tests.clock import FrozenClock
from tests.lent_databases import bring_schema

T = TypeVar("T")

SUPPLY = 24


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@functools.cache
def made_keys() -> list[PrivateKey]:
    """Private keys made once for the whole run: making one takes longer than most tests."""
    return [PrivateKey.generate(2048) for _ in range(SUPPLY)]


@pytest.fixture
def supply() -> list[PrivateKey]:
    return made_keys()[:SUPPLY]


@pytest.fixture
def make_key(supply: list[PrivateKey]) -> Callable[[int], PrivateKey]:
    """Hands out the supply, one after the other, as if each were new."""
    fresh: Iterator[PrivateKey] = iter(supply)
    return lambda _bits: next(fresh)


@pytest.fixture
def master_keys() -> MasterKeys:
    return MasterKeys(MasterKey.parse(new_master_key()))


@functools.cache
def migrated_database() -> bytes:
    """An SQLite database file with the newest schema, to be written wherever one is needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "auth.sqlite3"
        bring_schema(MIGRATIONS, f"sqlite:///{path}")
        return path.read_bytes()


class BreakableStorage:
    """The real storage, until `broken` is set: then it fails as a database does that is gone.

    With `works_for` set, it breaks after as many transactions.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.broken = False
        self.works_for: int | None = None

    async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
        self._check()
        return await self._storage.read(work, vital=vital)

    async def write(self, work: Callable[[Records], T], *, durable: bool = True) -> T:
        self._check()
        return await self._storage.write(work, durable=durable)

    def _check(self) -> None:
        if self.works_for is not None:
            self.broken = self.works_for == 0
            self.works_for -= 1
        if self.broken:
            raise DatabaseUnavailable("The database is not available.")
