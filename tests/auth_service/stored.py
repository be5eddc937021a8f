"""Accounts and sessions as tests need them, and an empty database of each kind."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from auth_service.model.account import Account, AccountState, new_subject
from auth_service.model.caller import Caller
from auth_service.model.password_link import LinkToken, PasswordLink
from auth_service.model.refresh_token import RefreshToken
from auth_service.model.session import Session, SessionGrant, SessionPolicy, open_session
from auth_service.oauth.authentication import Authentication
from auth_service.storage.storage import MIGRATIONS, SqlStorage
from shared.database import Database
from shared.scope import Scope
from tests.lent_databases import LentDatabases, bring_schema
from tests.postgresql import PostgreSQL

NOW = 1_800_000_000.123456
POLICY = SessionPolicy(idle_timeout=1_000, absolute_lifetime=10_000, grace=10)
GRANT = SessionGrant(
    client_id="first-party",
    scope=Scope("data:read", "data:write"),
    audience="http://localhost:8002",
    authentication=Authentication(1_800_000_000, ("pwd",), "1"),
)
CALLER = Caller("192.0.2.7", "curl/8.0")


def account(username: str = "alice", **changes: object) -> Account:
    """An account as registration makes it, but for the hash and `changes`."""
    values: dict[str, object] = {
        "sub": new_subject(),
        "username": username,
        "username_key": username,
        "lookalike_key": username,
        "password_hash": "$argon2id$...",
        "email": None,
        "email_verified": False,
        "name": None,
        "state": AccountState.ACTIVE,
        "created_at": NOW,
        "password_changed_at": NOW,
    }
    return Account(**{**values, **changes})  # type: ignore[arg-type]


def session(sub: str, *, at: float = NOW, policy: SessionPolicy = POLICY) -> tuple[Session, RefreshToken]:
    """A session of `sub` and its first refresh token."""
    return open_session(sub, GRANT, CALLER, policy=policy, at=at)


def password_link(owner: Account, *, at: float = NOW, lifetime: float = 1_000) -> PasswordLink:
    """A link for `owner`, whose token nobody has."""
    return PasswordLink(LinkToken.new().hash, owner.sub, owner.password_changed_at, at, at + lifetime)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "auth.sqlite3"
    bring_schema(MIGRATIONS, f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_databases(postgresql: PostgreSQL) -> LentDatabases:
    """PostgreSQL databases with the newest schema."""
    return LentDatabases(postgresql, "auth_migrated", partial(bring_schema, MIGRATIONS))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[str]:
    """The URL of an empty database of each kind, with the newest schema."""
    if request.param == "sqlite":
        path = tmp_path / "auth.sqlite3"
        shutil.copy(migrated_file, path)
        yield f"sqlite:///{path}"
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
async def second_database(database_url: str) -> AsyncIterator[Database]:
    """The same database over connections of its own, as another process has them."""
    opened = Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def storage(database: Database) -> SqlStorage:
    return SqlStorage(database)
