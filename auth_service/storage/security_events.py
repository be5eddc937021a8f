"""The audit trail in SQL."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from auth_service.model.caller import Caller
from auth_service.model.security_event import Outcome, SecurityEvent, SecurityEventKind
from auth_service.storage.bounded_delete import delete_some
from auth_service.storage.tables import security_events

PSEUDONYM_BYTES = 16

_columns = security_events.c
# No id is asked back: nothing refers to an event.
_insert = insert(security_events).inline()


class SqlSecurityEvents:
    """The audit trail that one transaction sees (`model.security_event.SecurityEventRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.appended: list[SecurityEvent] = []
        """What this transaction added, for the log once it is committed."""

    def append(self, event: SecurityEvent) -> None:
        self._connection.execute(
            _insert,
            {
                "at": event.at,
                "kind": str(event.kind),
                "outcome": str(event.outcome),
                "actor": event.actor,
                "sub": event.sub,
                "sid": event.sid,
                "client_id": event.client_id,
                "address": event.caller.address,
                "user_agent": event.caller.user_agent,
                "detail": json.dumps(dict(event.detail), separators=(",", ":")),
            },
        )
        self.appended.append(event)

    def newest(self, *, sub: str | None = None, since: float = 0.0, limit: int = 100) -> Sequence[SecurityEvent]:
        statement = select(security_events).where(_columns.at >= since)
        if sub is not None:
            statement = statement.where(_columns.sub == sub)
        statement = statement.order_by(_columns.at.desc(), _columns.event_id.desc()).limit(limit)
        return [_event(row) for row in self._connection.execute(statement)]

    def pseudonymise(self, sub: str) -> None:
        pseudonym = f"deleted-{secrets.token_urlsafe(PSEUDONYM_BYTES)}"
        acted = update(security_events).where(_columns.actor == sub)
        concerned = update(security_events).where(_columns.sub == sub)
        self._connection.execute(acted.values(actor=pseudonym, address="", user_agent=""))
        self._connection.execute(concerned.values(sub=pseudonym, sid=None, address="", user_agent=""))

    def sweep(self, *, before: float, limit: int) -> int:
        return delete_some(self._connection, security_events, _columns.event_id, _columns.at < before, limit)


def _event(row: Row[Any]) -> SecurityEvent:
    return SecurityEvent(
        at=row.at,
        kind=SecurityEventKind(row.kind),
        outcome=Outcome(row.outcome),
        caller=Caller(row.address, row.user_agent),
        actor=row.actor,
        sub=row.sub,
        sid=row.sid,
        client_id=row.client_id,
        detail=json.loads(row.detail),
    )
