"""The links with which accounts' owners choose passwords."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "password_links",
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("sub", sa.Text, nullable=False),
        sa.Column("password_changed_at", sa.Double, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("end_reason", sa.Text),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_password_links")),
        # The release before this one deletes accounts, too, and knows nothing of this table.
        sa.ForeignKeyConstraint(["sub"], ["accounts.sub"], name=op.f("fk_password_links_sub"), ondelete="CASCADE"),
        sa.CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name=op.f("ck_password_links_ended_whole")),
    )
    op.create_index(op.f("ix_password_links_sub"), "password_links", ["sub"])
    op.create_index(op.f("ix_password_links_expires_at"), "password_links", ["expires_at"])
