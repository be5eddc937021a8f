"""What Alembic runs: this service's revisions, on the connection that `shared.migrations.migrate` hands over."""

from __future__ import annotations

from auth_service.storage.tables import metadata
from shared.migrations import run_revisions

run_revisions(metadata)
