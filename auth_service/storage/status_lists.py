"""Positions in status lists, in SQL.

Which of them are invalid is not stored: it is what the feed has entries for, whoever wrote those. So list and feed
cannot disagree, and a position outlives its session's row where an account is deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, select

from auth_service.model.status_list import LIST_LENGTH, MAX_DRAWS
from auth_service.storage.tables import revocations, status_positions
from shared.database import insert_unless_taken
from shared.revocation_feed import RevokedKind, identifier_hash

_columns = status_positions.c
_last = select(func.max(_columns.position))
_revoked_sessions = select(revocations.c.identifier_hash).where(revocations.c.kind == RevokedKind.SESSION.value)
_invalid = select(_columns.position).where(_columns.identifier_hash.in_(_revoked_sessions))
_release = delete(status_positions).where(_columns.identifier_hash.in_(bindparam("hashes", expanding=True)))


class SqlStatusLists:
    """The positions that one transaction sees (`model.status_list.StatusListRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def assign(self, sid: str, *, expires_at: float) -> int:
        drawn_from = max(self.count(), 1) * LIST_LENGTH
        row: dict[str, object] = {"identifier_hash": identifier_hash(sid), "expires_at": expires_at}
        for _ in range(MAX_DRAWS):
            position = secrets.randbelow(drawn_from)
            if insert_unless_taken(self._connection, status_positions, {**row, "position": position}):
                return position
        # Into the next list, which begins to be with its first position. Somebody else may just have had that idea.
        while True:
            position = drawn_from + secrets.randbelow(LIST_LENGTH)
            if insert_unless_taken(self._connection, status_positions, {**row, "position": position}):
                return position

    def count(self) -> int:
        last: int | None = self._connection.execute(_last).scalar_one()
        return 0 if last is None else last // LIST_LENGTH + 1

    def invalid(self) -> Sequence[int]:
        return list(self._connection.execute(_invalid).scalars())

    def sweep(self, *, before: float, limit: int) -> int:
        gone = select(_columns.position).where(_columns.expires_at < before).limit(limit)
        gone = gone.with_for_update(skip_locked=True)
        return self._connection.execute(delete(status_positions).where(_columns.position.in_(gone))).rowcount


def release(connection: Connection, sids: Sequence[str]) -> None:
    """Free the positions of sessions that are over for so long that none of their tokens is accepted."""
    if sids:
        connection.execute(_release, {"hashes": [identifier_hash(sid) for sid in sids]})
