"""Transactions, and the schema the migrations make."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from structlog.testing import capture_logs

from auth_service.model.security_event import Act, SecurityEventKind
from auth_service.model.storage import Records
from auth_service.storage import partial_indexes  # noqa: F401 - adds its indexes to the metadata
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import metadata
from shared.database import Database
from tests.auth_service.stored import CALLER, NOW, account

EVENT = Act(NOW, CALLER, "alice").done(SecurityEventKind.SESSION_OPENED, sub="alice", sid="s")


class Interrupted(Exception):
    """What a piece of work fails with."""


async def test_work_that_raises_leaves_nothing_behind(storage: SqlStorage) -> None:
    """Neither rows nor log lines of a transaction that was undone."""

    def fail(records: Records) -> None:
        records.accounts.add(account())
        records.security_events.append(EVENT)
        raise Interrupted

    with capture_logs() as lines, pytest.raises(Interrupted):
        await storage.write(fail)
    assert lines == []
    assert await storage.read(lambda records: records.accounts.list()) == []
    assert await storage.read(lambda records: records.security_events.newest()) == []


async def test_a_committed_security_event_is_logged_once(storage: SqlStorage) -> None:
    """The log line says what the row says, without what is empty."""
    with capture_logs() as lines:
        await storage.write(lambda records: records.security_events.append(EVENT))
    assert lines == [
        {
            "event": "session_opened",
            "outcome": "done",
            "actor": "alice",
            "sub": "alice",
            "sid": "s",
            "address": "192.0.2.7",
            "user_agent": "curl/8.0",
            "log_level": "info",
        }
    ]


async def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    """Tables, columns, types, indexes and constraints of a migrated database are those of `tables.py`."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            named = {constraint.name for constraint in table.constraints} - {None}
            found = {constraint["name"] for constraint in inspector.get_check_constraints(table.name)}
            found |= {constraint["name"] for constraint in inspector.get_unique_constraints(table.name)}
            found |= {constraint["name"] for constraint in inspector.get_foreign_keys(table.name)}
            found.add(inspector.get_pk_constraint(table.name)["name"])
            assert found - {None} == named
