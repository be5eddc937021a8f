"""Password links in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update

from auth_service.model.password_link import LinkEnd, PasswordLink
from auth_service.storage.bounded_delete import delete_some
from auth_service.storage.tables import password_links

_columns = password_links.c
_find = select(password_links).where(_columns.token_hash == bindparam("wanted"))
_use = (
    update(password_links)
    .where(_columns.token_hash == bindparam("wanted"), _columns.ended_at.is_(None))
    .where(_columns.expires_at > bindparam("at"))
    .values(ended_at=bindparam("at"), end_reason=str(LinkEnd.USED))
    .returning(_columns.token_hash)
)
_end_all = (
    update(password_links)
    .where(_columns.sub == bindparam("whose"), _columns.ended_at.is_(None))
    .values(ended_at=bindparam("at"), end_reason=bindparam("reason"))
)


class SqlPasswordLinks:
    """The links that one transaction sees (`model.password_link.PasswordLinkRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, link: PasswordLink) -> None:
        values = {
            "token_hash": link.token_hash,
            "sub": link.sub,
            "password_changed_at": link.password_changed_at,
            "made_at": link.made_at,
            "expires_at": link.expires_at,
            "ended_at": link.ended_at,
            "end_reason": None if link.end_reason is None else str(link.end_reason),
        }
        self._connection.execute(insert(password_links), values)

    def find(self, token_hash: bytes) -> PasswordLink | None:
        row = self._connection.execute(_find, {"wanted": token_hash}).one_or_none()
        if row is None:
            return None
        columns = row._asdict()
        reason = columns["end_reason"]
        return PasswordLink(**{**columns, "end_reason": None if reason is None else LinkEnd(reason)})

    def use(self, token_hash: bytes, *, at: float) -> bool:
        return self._connection.execute(_use, {"wanted": token_hash, "at": at}).one_or_none() is not None

    def end_all(self, sub: str, reason: LinkEnd, *, at: float) -> None:
        self._connection.execute(_end_all, {"whose": sub, "reason": str(reason), "at": at})

    def sweep(self, *, before: float, limit: int) -> int:
        return delete_some(self._connection, password_links, _columns.token_hash, _columns.expires_at < before, limit)
