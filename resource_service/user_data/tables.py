"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table, UniqueConstraint

metadata = MetaData()

# SQLite numbers rows only for a primary key that is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")
# Ordered by code point on both databases, so that a listing has one order.
_Name = String(128).with_variant(String(128, collation="C"), "postgresql")

owners = Table(
    "owners",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    # What the owner has now; it changes in the transaction that changes the items, with this row locked.
    Column("item_count", Integer, nullable=False),
    Column("byte_count", BigInteger, nullable=False),
    UniqueConstraint("issuer", "subject"),
)

items = Table(
    "items",
    metadata,
    Column("owner_id", ForeignKey(owners.c.id), primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("etag", String, nullable=False),
    Column("updated_at", BigInteger, nullable=False),  # seconds since the epoch
)
