"""What the service has stored, and how an operator would change it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from auth_service.identity.administration import AccountAdministration
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.model.account import Account
from auth_service.model.password_link import LinkEnd, LinkToken, PasswordLink
from auth_service.model.security_event import SecurityEvent
from auth_service.model.session import Session
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import metadata
from shared.database import Database
from tests.auth_service.running import in_database
from tests.auth_service.stored import account
from tests.clock import FrozenClock


async def stored_session(settings: AuthSettings, sid: str) -> Session:
    """The session as it stands."""
    session = await in_database(settings, lambda records: records.sessions.find(sid))
    assert session is not None
    return session


async def stored_events(settings: AuthSettings) -> Sequence[SecurityEvent]:
    """The audit trail, the newest first."""
    return await in_database(settings, lambda records: records.security_events.newest())


async def change_account(settings: AuthSettings, username: str, **changes: object) -> None:
    """Store another state of an account."""

    def work(records: Records) -> None:
        account = records.accounts.find_by_username_key(username)
        assert isinstance(account, Account)
        records.accounts.update(replace(account, **changes))  # type: ignore[arg-type]

    await in_database(settings, work)


async def make_link(
    settings: AuthSettings, username_key: str, *, at: float | None = None, lifetime: float = 86_400, **members: object
) -> str:
    """As an operator's command: the token of a new link for an account, which is made of `members` if there is none."""
    token = LinkToken.new()
    instant = FrozenClock().now() if at is None else at

    def work(records: Records) -> None:
        owner = records.accounts.find_by_username_key(username_key)
        if owner is None:
            owner = replace(account(username_key), **members)  # type: ignore[arg-type]
            assert records.accounts.add(owner)
        records.password_links.end_all(owner.sub, LinkEnd.SUPERSEDED, at=instant)
        link = PasswordLink(token.hash, owner.sub, owner.password_changed_at, instant, instant + lifetime)
        records.password_links.add(link)

    await in_database(settings, work)
    return token.clear_text


async def delete_account(settings: AuthSettings, sub: str) -> None:
    """As `users delete` does."""
    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    hasher, policy = PasswordHasher(threads=1, queue_length=1), await asyncio.to_thread(PasswordPolicy, ())
    try:
        assert await AccountAdministration(SqlStorage(database), hasher, policy, FrozenClock()).delete(sub)
    finally:
        await hasher.close()
        await database.close()


async def tables_that_say(settings: AuthSettings, text: str) -> list[str]:
    """The tables with a row in which `text` stands."""

    def work(connection: Connection) -> list[str]:
        tables = metadata.sorted_tables
        return [table.name for table in tables if any(text in str(row) for row in connection.execute(select(table)))]

    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    try:
        return await database.read(work)
    finally:
        await database.close()
