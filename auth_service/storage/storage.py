"""Transactions: the one place where the ports of `model` meet a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from auth_service.model.security_event import SecurityEvent
from auth_service.model.storage import Records
from auth_service.storage.accounts import SqlAccounts
from auth_service.storage.password_links import SqlPasswordLinks
from auth_service.storage.revocations import SqlRevocations
from auth_service.storage.security_events import SqlSecurityEvents
from auth_service.storage.sessions import SqlSessions
from auth_service.storage.signing_keys import SqlSigningKeys
from auth_service.storage.status_lists import SqlStatusLists
from auth_service.storage.throttle import SqlBudgets
from shared.database import Database

T = TypeVar("T")

MIGRATIONS = Path(__file__).with_name("migrations")
"""The Alembic folder that `shared.migrations.migrate` is called with."""

log = structlog.get_logger(__name__)


class SqlRecords:
    """What one transaction sees (`model.storage.Records`)."""

    def __init__(self, connection: Connection) -> None:
        self.accounts = SqlAccounts(connection)
        self.sessions = SqlSessions(connection)
        self.password_links = SqlPasswordLinks(connection)
        self.signing_keys = SqlSigningKeys(connection)
        self.security_events = SqlSecurityEvents(connection)
        self.revocations = SqlRevocations(connection)
        self.status_lists = SqlStatusLists(connection)
        self.budgets = SqlBudgets(connection)


class SqlStorage:
    """Transactions over one database (`model.storage.Storage`).

    A security event is written to the log as well, once the transaction that holds it is committed. `revoked` is set
    when one that revoked something is.
    """

    def __init__(self, database: Database, revoked: asyncio.Event | None = None) -> None:
        self._database = database
        self._revoked = revoked

    async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
        return await self._database.read(lambda connection: work(SqlRecords(connection)), vital=vital)

    async def write(self, work: Callable[[Records], T], *, durable: bool = True) -> T:
        def whole(connection: Connection) -> tuple[T, list[SecurityEvent], bool]:
            records = SqlRecords(connection)
            result = work(records)
            return result, records.security_events.appended, records.revocations.flush()

        result, events, revoked = await self._database.write(whole, durable=durable)
        if revoked and self._revoked is not None:
            self._revoked.set()
        for event in events:
            _log_event(event)
        return result


def _log_event(event: SecurityEvent) -> None:
    fields = {
        "actor": event.actor,
        "sub": event.sub,
        "sid": event.sid,
        "client_id": event.client_id,
        "address": event.caller.address,
        "user_agent": event.caller.user_agent,
        **event.detail,
    }
    log.info(str(event.kind), outcome=str(event.outcome), **{name: value for name, value in fields.items() if value})
