"""Owners and their items."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "owners",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("item_count", sa.Integer, nullable=False),
        sa.Column("byte_count", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("issuer", "subject"),
    )
    op.create_table(
        "items",
        sa.Column("owner_id", _ID, sa.ForeignKey("owners.id"), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("etag", sa.String, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
