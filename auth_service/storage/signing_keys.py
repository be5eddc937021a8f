"""Signing keys in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text, update

from auth_service.model.signing_key import PUBLISHED_STATES, KeyState, SealedPrivateKey, SigningKeyRecord
from auth_service.storage.tables import signing_keys
from shared.upsert import insert_unless_taken

_columns = signing_keys.c
_oldest_first = (_columns.created_at, _columns.kid)
_all = select(signing_keys).order_by(*_oldest_first)
_published = _all.where(_columns.state.in_(sorted(state.value for state in PUBLISHED_STATES)))
_find = select(signing_keys).where(_columns.kid == bindparam("wanted"))
_replace = (
    update(signing_keys)
    .where(_columns.kid == bindparam("wanted"), _columns.state == bindparam("former_state"))
    .where(_columns.observed_at.is_not_distinct_from(bindparam("former_observed_at")))
    .returning(_columns.kid)
)
# Conflicts with itself and with every write, not with a read.
_lock_on_postgresql = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")


class SqlSigningKeys:
    """The signing keys that one transaction sees (`model.signing_key.SigningKeyRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self) -> None:
        # On SQLite a writing transaction holds the one write lock from its beginning.
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(_lock_on_postgresql)

    def published(self) -> list[SigningKeyRecord]:
        return [_record(row) for row in self._connection.execute(_published)]

    def all(self) -> list[SigningKeyRecord]:
        return [_record(row) for row in self._connection.execute(_all)]

    def find(self, kid: str) -> SigningKeyRecord | None:
        row = self._connection.execute(_find, {"wanted": kid}).one_or_none()
        return None if row is None else _record(row)

    def add(self, record: SigningKeyRecord) -> bool:
        fixed = {
            "kid": record.kid,
            "algorithm": record.algorithm,
            "key_bits": record.key_bits,
            "public_jwk": record.public_jwk,
            "created_at": record.created_at,
        }
        return insert_unless_taken(self._connection, signing_keys, {**fixed, **_moving(record)})

    def replace(self, before: SigningKeyRecord, after: SigningKeyRecord) -> bool:
        former = {
            "wanted": before.kid,
            "former_state": before.state.value,
            "former_observed_at": before.observed_at,
        }
        return self._connection.execute(_replace, {**former, **_moving(after)}).first() is not None


def _moving(record: SigningKeyRecord) -> dict[str, object]:
    sealed = record.sealed
    return {
        "state": record.state.value,
        "master_key_id": None if sealed is None else sealed.master_key_id,
        "sealed_private_key": None if sealed is None else sealed.box,
        "changed_at": record.changed_at,
        "observed_at": record.observed_at,
    }


def _record(row: Row[Any]) -> SigningKeyRecord:
    sealed = None
    if row.sealed_private_key is not None:
        sealed = SealedPrivateKey(row.master_key_id, row.sealed_private_key)
    return SigningKeyRecord(
        kid=row.kid,
        state=KeyState(row.state),
        algorithm=row.algorithm,
        key_bits=row.key_bits,
        public_jwk=row.public_jwk,
        sealed=sealed,
        created_at=row.created_at,
        changed_at=row.changed_at,
        observed_at=row.observed_at,
    )
