"""The revocation feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    head = op.create_table(
        "revocation_head",
        sa.Column("head_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("head_id", name=op.f("pk_revocation_head")),
        sa.CheckConstraint("head_id = 1", name=op.f("ck_revocation_head_single")),
        # Rewritten by each ending: room to do that in its page.
        postgresql_with={"fillfactor": "10"},
    )
    op.bulk_insert(head, [{"head_id": 1, "seq": 0, "mark": "0"}])
    op.create_table(
        "revocations",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=False, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("identifier_hash", sa.LargeBinary, nullable=False),
        sa.Column("before", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_revocations")),
        sa.CheckConstraint("kind IN ('jti', 'sid', 'sub', 'client_id', 'kid')", name=op.f("ck_revocations_kind")),
    )
    op.create_index(op.f("ix_revocations_identifier_hash"), "revocations", ["identifier_hash"])
    op.create_index(op.f("ix_revocations_expires_at"), "revocations", ["expires_at"])
