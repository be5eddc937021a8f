"""The running auth service."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from auth_service.app import open_auth_service
from auth_service.keys.sealing import new_master_key
from auth_service.settings import AuthSettings
from tests.auth_service.running import PATIENT, AuthClient, running_auth
from tests.auth_service.stored import (
    database,
    database_url,
    migrated_databases,
    migrated_file,
    second_database,
    storage,
)
from tests.clock import FrozenClock
from tests.lent_databases import LentDatabases
from tests.postgresql import PostgreSQL

__all__ = ["database", "database_url", "migrated_databases", "migrated_file", "second_database", "storage"]


async def start_once(settings: AuthSettings) -> None:
    """Bring schema and signing key about."""
    async with open_auth_service(settings, FrozenClock()):
        pass


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a service that has started once: schema, master key and signing key, nobody registered."""
    folder = tmp_path_factory.mktemp("prepared") / "auth"
    asyncio.run(start_once(AuthSettings.load({"AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.sqlite3"})))
    return folder


@dataclass(frozen=True, slots=True)
class PreparedDatabases:
    """The same on PostgreSQL: databases whose signing key one master key opens."""

    databases: LentDatabases
    master_key: str


@pytest.fixture(scope="session")
def prepared_databases(postgresql: PostgreSQL) -> PreparedDatabases:
    master_key = new_master_key()

    def prepare(url: str) -> None:
        settings = AuthSettings.load({"AUTH_DATABASE_URL": url, "AUTH_MASTER_KEY": master_key})
        asyncio.run(start_once(settings))

    return PreparedDatabases(LentDatabases(postgresql, "auth_prepared", prepare), master_key)


@pytest.fixture
def auth_environment(request: pytest.FixtureRequest, tmp_path: Path, prepared_folder: Path) -> Iterator[dict[str, str]]:
    """The settings of a service on an empty store of its own: SQLite, or what `EACH_DATABASE` says."""
    if getattr(request, "param", "sqlite") == "postgresql":
        prepared: PreparedDatabases = request.getfixturevalue("prepared_databases")
        with prepared.databases.lend() as url:
            yield {**PATIENT, "AUTH_DATABASE_URL": url, "AUTH_MASTER_KEY": prepared.master_key}
        return
    shutil.copytree(prepared_folder, tmp_path / "auth")
    yield {**PATIENT, "AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth/auth.sqlite3"}


@pytest.fixture
def auth_settings(auth_environment: dict[str, str]) -> AuthSettings:
    return AuthSettings.load(auth_environment)


@pytest.fixture
async def auth(auth_settings: AuthSettings, clock: FrozenClock) -> AsyncIterator[AuthClient]:
    """The auth service, running."""
    async with running_auth(auth_settings, clock) as client:
        yield client
