"""What Alembic runs: this service's revisions, on the connection that `shared.migrations.migrate` hands over."""

from __future__ import annotations

from auth_service.storage import partial_indexes  # noqa: F401 - adds its indexes to the metadata
from auth_service.storage.tables import metadata
from shared.migrations import run_revisions

run_revisions(metadata)
