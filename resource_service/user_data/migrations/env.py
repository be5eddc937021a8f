"""Alembic's entry: see shared.migrations."""

from resource_service.user_data.tables import metadata
from shared.migrations import run_revisions

run_revisions(metadata)
