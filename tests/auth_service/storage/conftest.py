"""The fixtures of the conformance suite: every test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from tests.auth_service.stored import database, database_url, migrated_file, second_database, storage

__all__ = ["database", "database_url", "migrated_file", "second_database", "storage"]
