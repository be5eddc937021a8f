"""Stores of items, on each database in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from resource_service.user_data.item import Quota
from resource_service.user_data.store import MIGRATIONS, ItemStore
from shared.database import Database
from shared.database_version import DatabaseVersion
from shared.migrations import migrate
from tests.clock import FrozenClock

QUOTA = Quota(items=5, bytes=1_000)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/resource.sqlite3"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The same, with the tables."""
    opened = Database.open(database_url)
    migrate(opened.engine, MIGRATIONS)
    yield opened
    await opened.close()


@pytest.fixture
def version(database: Database, database_url: str) -> Iterator[DatabaseVersion]:
    """Tells whether it has changed, where it can tell."""
    opened = DatabaseVersion.open(database_url)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database, version: DatabaseVersion) -> ItemStore:
    """A store with small limits."""
    return ItemStore(database, version, QUOTA, FrozenClock())
