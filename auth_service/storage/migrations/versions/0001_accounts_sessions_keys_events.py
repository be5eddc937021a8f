"""Accounts, sessions, signing keys and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("sub", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("username_key", sa.Text, nullable=False),
        sa.Column("lookalike_key", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("email_verified", sa.Boolean, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("password_changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("sub", name=op.f("pk_accounts")),
        sa.UniqueConstraint("username_key", name=op.f("uq_accounts_username_key")),
        sa.UniqueConstraint("lookalike_key", name=op.f("uq_accounts_lookalike_key")),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_accounts_state")),
    )
    _create_sessions()
    _create_signing_keys()
    op.create_table(
        "security_events",
        sa.Column(
            "event_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("sub", sa.Text),
        sa.Column("sid", sa.Text),
        sa.Column("client_id", sa.Text),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("user_agent", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.CheckConstraint("outcome IN ('done', 'refused')", name=op.f("ck_security_events_outcome")),
    )
    op.create_index(op.f("ix_security_events_at"), "security_events", ["at"])
    op.create_index(op.f("ix_security_events_sub"), "security_events", ["sub"])


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("sid", sa.Text, nullable=False),
        sa.Column("sub", sa.Text, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("auth_time", sa.BigInteger, nullable=False),
        sa.Column("amr", sa.Text, nullable=False),
        sa.Column("acr", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("user_agent", sa.Text, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("last_used_at", sa.Double, nullable=False),
        sa.Column("idle_expires_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("handle_hash", sa.LargeBinary, nullable=False),
        sa.Column("newest_hash", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("parent_hash", sa.LargeBinary),
        sa.Column("successor_salt", sa.LargeBinary),
        sa.Column("parent_used_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("end_reason", sa.Text),
        sa.PrimaryKeyConstraint("sid", name=op.f("pk_sessions")),
        sa.ForeignKeyConstraint(["sub"], ["accounts.sub"], name=op.f("fk_sessions_sub")),
        sa.UniqueConstraint("handle_hash", name=op.f("uq_sessions_handle_hash")),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (end_reason IS NULL)",
            name=op.f("ck_sessions_ended_whole"),
        ),
        sa.CheckConstraint(
            "(parent_hash IS NULL) = (successor_salt IS NULL) AND (parent_hash IS NULL) = (parent_used_at IS NULL)",
            name=op.f("ck_sessions_parent_whole"),
        ),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(op.f("ix_sessions_sub"), "sessions", ["sub"])
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index(op.f("ix_sessions_ended_at"), "sessions", ["ended_at"], sqlite_where=ended, postgresql_where=ended)


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("key_bits", sa.Integer, nullable=False),
        sa.Column("public_jwk", sa.Text, nullable=False),
        sa.Column("master_key_id", sa.Text),
        sa.Column("sealed_private_key", sa.LargeBinary),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("observed_at", sa.Double),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        sa.CheckConstraint(
            "state IN ('pending', 'active', 'retiring', 'retired', 'revoked')",
            name=op.f("ck_signing_keys_state"),
        ),
        sa.CheckConstraint(
            "(master_key_id IS NULL) = (sealed_private_key IS NULL)",
            name=op.f("ck_signing_keys_sealed_whole"),
        ),
        sa.CheckConstraint(
            "(sealed_private_key IS NULL) = (state IN ('retired', 'revoked'))",
            name=op.f("ck_signing_keys_destroyed"),
        ),
    )
    placed = sa.text("state IN ('pending', 'active')")
    op.create_index(
        op.f("uq_signing_keys_place"),
        "signing_keys",
        ["state"],
        unique=True,
        sqlite_where=placed,
        postgresql_where=placed,
    )
