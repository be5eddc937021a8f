"""Positions in status lists. The release before this one does not look at them and loses none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("status_position", sa.BigInteger))
    op.create_table(
        "status_positions",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=False),
        sa.Column("identifier_hash", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_status_positions")),
        sa.UniqueConstraint("identifier_hash", name=op.f("uq_status_positions_identifier_hash")),
    )
    op.create_index(op.f("ix_status_positions_expires_at"), "status_positions", ["expires_at"])
