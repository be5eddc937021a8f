"""Deletes a bounded number of rows: how what has expired is swept in small steps."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Delete, Table, delete, select


def delete_some(table: Table, key: Column[Any], condition: ColumnElement[bool], limit: int) -> Delete:
    """Delete up to `limit` rows of `table` for which `condition` holds; `key` is its primary key.

    What another transaction holds is left for the next time: waiting for several rows could deadlock. The rows are
    chosen in a CTE, once: PostgreSQL may run a subquery of IN again for each row that it looks at, and SKIP LOCKED
    finds others each time, beyond any limit.
    """
    chosen = select(key).where(condition).limit(limit).with_for_update(skip_locked=True).cte("chosen")
    return delete(table).where(key.in_(select(chosen.c[key.name])))
