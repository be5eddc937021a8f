"""INSERT that says what becomes of a value that is taken, in the words of either database."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Executable, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_into(table: Table, dialect: str) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`; `dialect` is `connection.dialect.name`."""
    # Both dialects spell it alike but have a class each; only the one in use is imported, the other costs 2 MB.
    insert: postgresql.Insert | sqlite.Insert = import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    return insert


def insert_unless_taken(connection: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert one row; False, and nothing stored, when a unique value of it is taken.

    A concurrent writer of the same value is waited for. Raises nothing for what is taken, so a transaction goes on.
    """
    statement = _insert_unless_taken(table, connection.dialect.name)
    return connection.execute(statement, dict(values)).one_or_none() is not None


@lru_cache(maxsize=64)
def _insert_unless_taken(table: Table, dialect: str) -> Executable:
    return insert_into(table, dialect).on_conflict_do_nothing().returning(*table.primary_key)
