"""Stores of items, on each database in turn."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from resource_service.user_data.item import Quota
from resource_service.user_data.store import MIGRATIONS, ItemStore
from shared.database import Database
from shared.database_version import DatabaseVersion, VersionOfTheTurn
from tests.clock import FrozenClock
from tests.lent_databases import LentDatabases, bring_schema
from tests.postgresql import PostgreSQL

QUOTA = Quota(items=5, bytes=1_000)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with the tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "resource.sqlite3"
    bring_schema(MIGRATIONS, f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_databases(postgresql: PostgreSQL) -> LentDatabases:
    """PostgreSQL databases with the tables."""
    return LentDatabases(postgresql, "resource_migrated", partial(bring_schema, MIGRATIONS))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[str]:
    """A database of each kind in turn, with the tables and nothing in them."""
    if request.param == "sqlite":
        shutil.copy(migrated_file, tmp_path / "resource.sqlite3")
        yield f"sqlite:///{tmp_path}/resource.sqlite3"
        return
    databases: LentDatabases = request.getfixturevalue("migrated_databases")
    with databases.lend() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database.open(database_url)
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
    return ItemStore(database, VersionOfTheTurn(version), QUOTA, FrozenClock())
