"""The tables as the newest release knows them; `migrations` brings a database there.

What is told to one dialect only stands in `partial_indexes`. Names that several tables share mean the same: `sub` an
account's subject, `sid` a session, `*_at` an instant in seconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("sub", Text, primary_key=True),
    Column("username", Text, nullable=False),
    Column("username_key", Text, nullable=False, unique=True),
    Column("lookalike_key", Text, nullable=False, unique=True),
    Column("password_hash", Text),
    Column("email", Text),
    Column("email_verified", Boolean, nullable=False),
    Column("name", Text),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("password_changed_at", Double, nullable=False),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
)

# A refresh changes no indexed column, so PostgreSQL can rewrite the row in its page (HOT); the fill factor that the
# migration sets leaves room for that. Sweeping goes by `expires_at`, which never moves, and not by `idle_expires_at`,
# which always does.
sessions = Table(
    "sessions",
    metadata,
    Column("sid", Text, primary_key=True),
    Column("sub", Text, ForeignKey("accounts.sub"), nullable=False, index=True),
    Column("client_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("auth_time", BigInteger, nullable=False),
    Column("amr", Text, nullable=False),
    Column("acr", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("last_used_at", Double, nullable=False),
    Column("idle_expires_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("handle_hash", LargeBinary, nullable=False, unique=True),
    Column("newest_hash", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("parent_hash", LargeBinary),
    Column("successor_salt", LargeBinary),
    Column("parent_used_at", Double),
    Column("ended_at", Double),
    Column("end_reason", Text),
    Column("status_position", BigInteger),
    CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="ended_whole"),
    CheckConstraint(
        "(parent_hash IS NULL) = (successor_salt IS NULL) AND (parent_hash IS NULL) = (parent_used_at IS NULL)",
        name="parent_whole",
    ),
)
# A link goes with its account, whichever release deletes that.
password_links = Table(
    "password_links",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("sub", Text, ForeignKey("accounts.sub", ondelete="CASCADE"), nullable=False, index=True),
    Column("password_changed_at", Double, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("ended_at", Double),
    Column("end_reason", Text),
    CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="ended_whole"),
)
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("key_bits", Integer, nullable=False),
    Column("public_jwk", Text, nullable=False),
    Column("master_key_id", Text),
    Column("sealed_private_key", LargeBinary),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("observed_at", Double),
    CheckConstraint("state IN ('pending', 'active', 'retiring', 'retired', 'revoked')", name="state"),
    CheckConstraint("(master_key_id IS NULL) = (sealed_private_key IS NULL)", name="sealed_whole"),
    CheckConstraint("(sealed_private_key IS NULL) = (state IN ('retired', 'revoked'))", name="destroyed"),
)
# No foreign key to `accounts`: the trail outlives what it tells of (under a pseudonym once the account is deleted).
security_events = Table(
    "security_events",
    metadata,
    Column("event_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text),
    Column("sub", Text, index=True),
    Column("sid", Text),
    Column("client_id", Text),
    Column("address", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("detail", Text, nullable=False),
    CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
)
# No foreign key here either: a name that nobody has is counted like any other. And no index for sweeping: it would have
# to follow each charge, and the table is small, for a budget that is whole has no row for long.
throttle_budgets = Table(
    "throttle_budgets",
    metadata,
    Column("budget_key", LargeBinary, primary_key=True),
    Column("full_at", Double, nullable=False),
)
# The feed's end: one row, moved on and locked by every transaction that revokes something.
revocation_head = Table(
    "revocation_head",
    metadata,
    Column("head_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    CheckConstraint("head_id = 1", name="single"),
)
revocations = Table(
    "revocations",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("mark", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("identifier_hash", LargeBinary, nullable=False, index=True),
    Column("before", BigInteger),
    Column("expires_at", BigInteger, nullable=False, index=True),
    CheckConstraint("kind IN ('jti', 'sid', 'sub', 'client_id', 'kid')", name="kind"),
)
# No foreign key: a position stays taken, and its session's tokens refused, when the account is deleted.
status_positions = Table(
    "status_positions",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("identifier_hash", LargeBinary, nullable=False, unique=True),
    Column("expires_at", Double, nullable=False, index=True),
)
