"""What the service has stored, and how an operator would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from auth_service.model.account import Account
from auth_service.model.security_event import SecurityEvent
from auth_service.model.session import Session
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.running import in_database


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
