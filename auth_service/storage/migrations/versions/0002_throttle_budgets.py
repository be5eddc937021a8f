"""The budgets that stop guessing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "throttle_budgets",
        sa.Column("budget_key", sa.LargeBinary, nullable=False),
        sa.Column("full_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("budget_key", name=op.f("pk_throttle_budgets")),
        # One tree instead of two; and room to rewrite a row in its page, as each charge does.
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": "50"},
    )
