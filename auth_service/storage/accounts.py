"""Accounts in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from auth_service.model.account import Account, AccountState
from auth_service.storage.tables import accounts, sessions
from shared.upsert import insert_unless_taken

_select = select(accounts)
_find = _select.where(accounts.c.sub == bindparam("wanted"))
_find_by_username_key = _select.where(accounts.c.username_key == bindparam("wanted"))
# NO KEY UPDATE: a new session refers to its account, and that reference need not wait for us. SQLite compiles it to
# nothing: there a writing transaction is alone.
_hold = _find.with_for_update(key_share=True)
_update = update(accounts).where(accounts.c.sub == bindparam("wanted"))
_list = (
    _select.where(accounts.c.username_key > bindparam("after_key"))
    .order_by(accounts.c.username_key)
    .limit(bindparam("max_rows"))
)


class SqlAccounts:
    """The accounts that one transaction sees (`model.account.AccountRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, account: Account) -> bool:
        values = {"sub": account.sub, "created_at": account.created_at, **_mutable_columns(account)}
        # Either name being taken counts.
        return insert_unless_taken(self._connection, accounts, values)

    def find(self, sub: str) -> Account | None:
        return self._one(_find, sub)

    def find_by_username_key(self, username_key: str) -> Account | None:
        return self._one(_find_by_username_key, username_key)

    def hold(self, sub: str) -> Account | None:
        return self._one(_hold, sub)

    def update(self, account: Account) -> None:
        self._connection.execute(_update, {"wanted": account.sub, **_mutable_columns(account)})

    def delete(self, sub: str) -> None:
        self._connection.execute(delete(sessions).where(sessions.c.sub == sub))
        self._connection.execute(delete(accounts).where(accounts.c.sub == sub))

    def list(self, *, after_key: str = "", limit: int = 100) -> Sequence[Account]:
        rows = self._connection.execute(_list, {"after_key": after_key, "max_rows": limit})
        return [_account(row) for row in rows]

    def _one(self, statement: Any, wanted: str) -> Account | None:
        row = self._connection.execute(statement, {"wanted": wanted}).one_or_none()
        return None if row is None else _account(row)


def _mutable_columns(account: Account) -> dict[str, object]:
    return {
        "username": account.username,
        "username_key": account.username_key,
        "lookalike_key": account.lookalike_key,
        "password_hash": account.password_hash,
        "email": account.email,
        "email_verified": account.email_verified,
        "name": account.name,
        "state": str(account.state),
        "password_changed_at": account.password_changed_at,
    }


def _account(row: Row[Any]) -> Account:
    columns = row._asdict()
    return Account(**{**columns, "state": AccountState(columns["state"])})
