"""Sessions in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from auth_service.model.caller import Caller
from auth_service.model.refresh_token import RefreshToken
from auth_service.model.session import EndReason, Parent, RefreshChain, Session, SessionGrant
from auth_service.oauth.authentication import Authentication
from auth_service.storage.bounded_delete import some_of
from auth_service.storage.status_lists import release
from auth_service.storage.tables import sessions
from shared.scope import Scope

MAX_CROWDED_OUT = 100
"""Sessions found at a time beyond the bound; there are more only where the bound is younger than they are."""

_columns = sessions.c
_identity = (_columns.sid, _columns.status_position)
_select = select(sessions)
_find = _select.where(_columns.sid == bindparam("wanted"))
_hold = _find.with_for_update(key_share=True)
_hold_by_handle = _select.where(_columns.handle_hash == bindparam("wanted")).with_for_update(key_share=True)
_knows = select(_columns.sid).where(_columns.handle_hash == bindparam("wanted"))
_insert = insert(sessions)
_update = update(sessions).where(_columns.sid == bindparam("wanted"))


class SqlSessions:
    """The sessions that one transaction sees (`model.session.SessionRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, session: Session) -> None:
        self._connection.execute(_insert, {**_fixed_columns(session), **_moving_columns(session)})

    def find(self, sid: str) -> Session | None:
        return self._one(_find, sid)

    def hold(self, sid: str) -> Session | None:
        return self._one(_hold, sid)

    def hold_by_token(self, unverified_token: RefreshToken) -> Session | None:
        return self._one(_hold_by_handle, unverified_token.handle_hash)

    def knows(self, unverified_token: RefreshToken) -> bool:
        return self._connection.execute(_knows, {"wanted": unverified_token.handle_hash}).first() is not None

    def update(self, session: Session) -> None:
        self._connection.execute(_update, {"wanted": session.sid, **_moving_columns(session)})

    def live_of(self, sub: str, *, at: float) -> Sequence[Session]:
        statement = (
            _select.where(_columns.sub == sub, _columns.ended_at.is_(None))
            .where(_columns.idle_expires_at > at, _columns.expires_at > at)
            .order_by(_columns.last_used_at.desc(), _columns.sid)
        )
        return [_session(row) for row in self._connection.execute(statement)]

    def crowded_out(self, sub: str, *, at: float, keep: int) -> Sequence[str]:
        statement = (
            select(_columns.sid)
            .where(_columns.sub == sub, _columns.ended_at.is_(None))
            .where(_columns.idle_expires_at > at, _columns.expires_at > at)
            .order_by(_columns.last_used_at.desc(), _columns.sid)
            .offset(keep)
            # SQLite takes an offset only with a limit.
            .limit(MAX_CROWDED_OUT)
        )
        return list(self._connection.execute(statement).scalars())

    def end_all(self, sub: str, reason: EndReason, *, at: float, except_sid: str | None = None) -> Sequence[str]:
        statement = update(sessions).where(_columns.sub == sub, _columns.ended_at.is_(None))
        if except_sid is not None:
            statement = statement.where(_columns.sid != except_sid)
        ended = statement.values(ended_at=at, end_reason=str(reason)).returning(_columns.sid)
        return list(self._connection.execute(ended).scalars())

    def sweep(self, *, before: float, limit: int) -> int:
        useless = or_(_columns.expires_at < before, _columns.ended_at < before)
        gone = delete(sessions).where(_columns.sid.in_(some_of(_columns.sid, useless, limit)))
        swept = self._connection.execute(gone.returning(*_identity)).all()
        release(self._connection, [sid for sid, position in swept if position is not None])
        return len(swept)

    def _one(self, statement: Any, wanted: str | bytes) -> Session | None:
        row = self._connection.execute(statement, {"wanted": wanted}).one_or_none()
        return None if row is None else _session(row)


def _fixed_columns(session: Session) -> dict[str, object]:
    grant = session.grant
    return {
        "sid": session.sid,
        "sub": session.sub,
        "client_id": grant.client_id,
        "scope": str(grant.scope),
        "audience": grant.audience,
        "auth_time": grant.authentication.time,
        "amr": " ".join(grant.authentication.methods),
        "acr": grant.authentication.context_class,
        "address": session.opened_from.address,
        "user_agent": session.opened_from.user_agent,
        "opened_at": session.opened_at,
        "expires_at": session.expires_at,
        "handle_hash": session.chain.handle_hash,
    }


def _moving_columns(session: Session) -> dict[str, object]:
    chain, parent = session.chain, session.chain.parent
    return {
        "last_used_at": session.last_used_at,
        "idle_expires_at": session.idle_expires_at,
        "newest_hash": chain.newest_hash,
        "generation": chain.generation,
        "parent_hash": None if parent is None else parent.secret_hash,
        "successor_salt": None if parent is None else parent.successor_salt,
        "parent_used_at": None if parent is None else parent.used_at,
        "ended_at": session.ended_at,
        "end_reason": None if session.end_reason is None else str(session.end_reason),
        "status_position": session.status_position,
    }


def _session(row: Row[Any]) -> Session:
    parent = None
    if row.parent_hash is not None:
        parent = Parent(row.parent_hash, row.successor_salt, row.parent_used_at)
    return Session(
        sid=row.sid,
        sub=row.sub,
        grant=SessionGrant(
            client_id=row.client_id,
            scope=Scope(*row.scope.split()),
            audience=row.audience,
            authentication=Authentication(row.auth_time, tuple(row.amr.split()), row.acr),
        ),
        opened_from=Caller(row.address, row.user_agent),
        opened_at=row.opened_at,
        last_used_at=row.last_used_at,
        idle_expires_at=row.idle_expires_at,
        expires_at=row.expires_at,
        chain=RefreshChain(row.handle_hash, row.newest_hash, row.generation, parent),
        ended_at=row.ended_at,
        end_reason=None if row.end_reason is None else EndReason(row.end_reason),
        status_position=row.status_position,
    )
