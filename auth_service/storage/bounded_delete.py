"""Deletes a bounded number of rows: how what has expired is swept in small steps."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, delete, select


def some_of(key: Column[Any], condition: ColumnElement[bool], limit: int) -> Select[Any]:
    """Up to `limit` values of `key`, a primary key, of rows for which `condition` holds; for IN in a DELETE.

    What another transaction holds is left for the next time: waiting for several rows could deadlock. The rows are
    chosen in a CTE, once: PostgreSQL may run a subquery of IN again for each row that it looks at, and SKIP LOCKED
    finds others each time, beyond any limit.
    """
    chosen = select(key).where(condition).limit(limit).with_for_update(skip_locked=True).cte("chosen")
    return select(chosen.c[key.name])


def delete_some(
    connection: Connection, table: Table, key: Column[Any], condition: ColumnElement[bool], limit: int
) -> int:
    """Delete up to `limit` rows of `table` for which `condition` holds; return how many went."""
    statement = delete(table).where(key.in_(some_of(key, condition, limit))).returning(key)
    # Counted by what comes back: SQLite's driver counts nothing in a statement that begins with WITH.
    return len(connection.execute(statement).all())
