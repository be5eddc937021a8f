"""The revocation feed in SQL.

One row holds the feed's end. A transaction moves it on as its last statement and keeps it locked until it commits,
so numbers are given in the order of commits and without gaps: who has read up to a number has missed nothing below.
"""

from __future__ import annotations

import secrets
from collections import defaultdict

from sqlalchemy import Connection, bindparam, insert, select, type_coerce, update
from sqlalchemy.types import NullType

from auth_service.model.revocation import FeedPart
from auth_service.storage.bounded_delete import delete_some
from auth_service.storage.tables import revocation_head, revocations
from shared.revocation_feed import Position, Revocation, RevocationGroup, RevokedKind, identifier_hash

MARK_BYTES = 8
"""64 random bits: two histories of one feed do not meet in a mark by chance."""

_columns = revocations.c
_head = select(revocation_head.c.seq, revocation_head.c.mark)
_move = (
    update(revocation_head)
    .values(seq=revocation_head.c.seq + bindparam("count"), mark=bindparam("new_mark"))
    .returning(revocation_head.c.seq)
)
_insert = insert(revocations)
_find = select(_columns.seq).where(_columns.seq == bindparam("wanted_seq"), _columns.mark == bindparam("wanted_mark"))
_between = (
    # The type would have each hash copied once more.
    select(_columns.kind, _columns.before, _columns.expires_at, type_coerce(_columns.identifier_hash, NullType()))
    .add_columns(_columns.seq, _columns.mark)
    .where(_columns.seq > bindparam("after"), _columns.seq <= bindparam("head"))
    .order_by(_columns.seq)
    .limit(bindparam("max_rows"))
)
_covers = select(_columns.seq).where(
    _columns.identifier_hash == bindparam("wanted_hash"), _columns.kind == bindparam("wanted_kind")
)


class SqlRevocations:
    """The feed that one transaction sees (`model.revocation.RevocationRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._appended: list[Revocation] = []

    def append(self, revocation: Revocation) -> None:
        self._appended.append(revocation)

    def flush(self) -> bool:
        """Write what was appended, as the transaction's last act; whether there was anything."""
        count = len(self._appended)
        if not count:
            return False
        mark = secrets.token_urlsafe(MARK_BYTES)
        last: int = self._connection.execute(_move, {"count": count, "new_mark": mark}).scalar_one()
        rows = [
            {
                "seq": seq,
                "mark": mark,
                "kind": entry.kind.value,
                "identifier_hash": entry.identifier_hash,
                "before": entry.before,
                "expires_at": entry.expires_at,
            }
            for seq, entry in enumerate(self._appended, start=last - count + 1)
        ]
        self._connection.execute(_insert, rows)
        return True

    def head(self) -> Position:
        row = self._connection.execute(_head).one()
        return Position(row.seq, row.mark)

    def contains(self, position: Position) -> bool:
        if position == self.head():
            return True
        wanted = {"wanted_seq": position.seq, "wanted_mark": position.mark}
        return self._connection.execute(_find, wanted).first() is not None

    def between(self, after: int, head: int, *, limit: int) -> FeedPart:
        rows = self._connection.execute(_between, {"after": after, "head": head, "max_rows": limit})
        alike: defaultdict[tuple[str, int | None, int], list[bytes]] = defaultdict(list)
        size, reached = 0, None
        for kind, before, expires_at, hashed, seq, mark in rows:
            alike[kind, before, expires_at].append(hashed)
            size, reached = size + 1, (seq, mark)
        groups = [
            RevocationGroup(RevokedKind(kind), before, expires_at, hashes)
            for (kind, before, expires_at), hashes in alike.items()
        ]
        return FeedPart(size, groups, None if reached is None else Position(*reached))

    def covers(self, kind: RevokedKind, identifier: str) -> bool:
        wanted = {"wanted_kind": kind.value, "wanted_hash": identifier_hash(identifier)}
        return self._connection.execute(_covers, wanted).first() is not None

    def sweep(self, *, before: float, limit: int) -> int:
        return delete_some(self._connection, revocations, _columns.seq, _columns.expires_at < before, limit)
