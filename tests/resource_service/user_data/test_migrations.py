"""The revisions lead to the tables the code uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from resource_service.user_data.tables import metadata
from shared.database import Database


async def test_the_migrated_schema_is_the_one_the_code_knows(database: Database) -> None:
    """After the newest revision nothing is left that differs from the tables, types included."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
