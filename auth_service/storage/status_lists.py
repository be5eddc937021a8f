"""Positions in status lists, in SQL.

Which of them are invalid is not stored: it is what the feed has entries for, whoever wrote those. So list and feed
cannot disagree, and a position outlives its session's row where an account is deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, select

from auth_service.model.status_list import LIST_LENGTH, MAX_DRAWS
from auth_service.storage.bounded_delete import delete_some
from auth_service.storage.tables import revocations, status_positions
from shared.revocation_feed import RevokedKind, identifier_hash
from shared.upsert import insert_unless_taken

_columns = status_positions.c
_last = select(func.max(_columns.position))
_revoked_sessions = select(revocations.c.identifier_hash).where(revocations.c.kind == RevokedKind.SESSION.value)
_invalid = select(_columns.position).where(_columns.identifier_hash.in_(_revoked_sessions))
_release = delete(status_positions).where(_columns.identifier_hash.in_(bindparam("hashes", expanding=True)))


class NoFreePosition(Exception):
    """No draw was free, even in a new list: the session has a position already, which is a mistake of ours."""


class SqlStatusLists:
    """The positions that one transaction sees (`model.status_list.StatusListRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def assign(self, sid: str, *, expires_at: float) -> int:
        row: dict[str, object] = {"identifier_hash": identifier_hash(sid), "expires_at": expires_at}
        end = self.count() * LIST_LENGTH
        known, next_list = range(end), range(end, end + LIST_LENGTH)
        for draw in range(2 * MAX_DRAWS):
            # The next list begins to be with its first position; who comes at the same time begins the same one.
            position = secrets.choice(known if known and draw < MAX_DRAWS else next_list)
            if insert_unless_taken(self._connection, status_positions, {**row, "position": position}):
                return position
        raise NoFreePosition

    def count(self) -> int:
        last: int | None = self._connection.execute(_last).scalar_one()
        return 0 if last is None else last // LIST_LENGTH + 1

    def invalid(self) -> Sequence[int]:
        return list(self._connection.execute(_invalid).scalars())

    def sweep(self, *, before: float, limit: int) -> int:
        return delete_some(self._connection, status_positions, _columns.position, _columns.expires_at < before, limit)


def release(connection: Connection, sids: Sequence[str]) -> None:
    """Free the positions of sessions that are over for so long that none of their tokens is accepted."""
    if sids:
        connection.execute(_release, {"hashes": [identifier_hash(sid) for sid in sids]})
