"""Signing keys in SQL, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from auth_service.model.signing_key import KeyState, SealedPrivateKey, SigningKeyRecord
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import signing_keys
from shared.database import Database

AT = 1_800_000_000.123456


def key(kid: str, state: KeyState, created_at: float = AT) -> SigningKeyRecord:
    ended = state in (KeyState.RETIRED, KeyState.REVOKED)
    return SigningKeyRecord(
        kid=kid,
        state=state,
        algorithm="RS256",
        key_bits=2048,
        public_jwk='{"kty":"RSA"}',
        sealed=None if ended else SealedPrivateKey("master", b"\x00box\xff"),
        created_at=created_at,
        changed_at=created_at + 1,
        observed_at=None if state is KeyState.PENDING else created_at + 2,
    )


def find(kid: str, records: Records) -> SigningKeyRecord | None:
    return records.signing_keys.find(kid)


def add_all(*keys: SigningKeyRecord) -> Callable[[Records], None]:
    def work(records: Records) -> None:
        for stored in keys:
            assert records.signing_keys.add(stored)

    return work


async def test_a_key_comes_back_as_it_was_stored(storage: SqlStorage) -> None:
    """Every field, instants to the last bit and bytes unchanged; an unknown kid is None."""
    keys = [key(state.value, state) for state in KeyState]
    await storage.write(add_all(*keys))
    for stored in keys:
        assert await storage.read(partial(find, stored.kid)) == stored
    assert await storage.read(partial(find, "unknown")) is None


async def test_keys_are_listed_oldest_first(storage: SqlStorage) -> None:
    """Published ones are the pending, active and retiring; the list has all."""
    states = [KeyState.RETIRING, KeyState.PENDING, KeyState.REVOKED, KeyState.ACTIVE, KeyState.RETIRED]
    keys = [key(f"kid{9 - age}", state, AT + age) for age, state in enumerate(states)]
    await storage.write(add_all(*reversed(keys)))
    assert await storage.read(lambda records: records.signing_keys.all()) == keys
    published = await storage.read(lambda records: records.signing_keys.published())
    assert published == [keys[0], keys[1], keys[3]]


@pytest.mark.parametrize("state", [KeyState.PENDING, KeyState.ACTIVE])
async def test_each_place_is_taken_once(storage: SqlStorage, state: KeyState) -> None:
    """A second pending or active key is not stored, nor one with a kid that is there; nothing is changed by trying."""
    first = key("first", state)
    await storage.write(add_all(first))
    assert not await storage.write(lambda records: records.signing_keys.add(key("second", state)))
    assert not await storage.write(lambda records: records.signing_keys.add(key("first", KeyState.RETIRING)))
    assert await storage.read(lambda records: records.signing_keys.all()) == [first]


async def test_a_move_that_would_make_a_second_active_key_is_undone(storage: SqlStorage) -> None:
    """The database itself holds the rule, whatever a process believes; the whole transaction is rolled back."""
    active, pending = key("active", KeyState.ACTIVE), key("pending", KeyState.PENDING, AT + 1)
    await storage.write(add_all(active, pending))
    with pytest.raises(IntegrityError):
        await storage.write(lambda records: records.signing_keys.replace(pending, pending.activated(AT)))
    assert await storage.read(lambda records: records.signing_keys.all()) == [active, pending]


async def test_a_key_is_replaced_only_where_it_still_stands(storage: SqlStorage) -> None:
    """A move from a state that is no longer the stored one, or that was seen meanwhile, changes nothing."""
    pending = key("kid", KeyState.PENDING)
    await storage.write(add_all(pending))
    seen = pending.observed(AT + 5)
    assert await storage.write(lambda records: records.signing_keys.replace(pending, seen))
    assert not await storage.write(lambda records: records.signing_keys.replace(pending, pending.activated(AT)))
    active = seen.activated(AT + 9)
    assert await storage.write(lambda records: records.signing_keys.replace(seen, active))
    assert not await storage.write(lambda records: records.signing_keys.replace(seen, seen.revoked(AT + 10)))
    assert await storage.read(lambda records: records.signing_keys.all()) == [active]


async def test_a_destroyed_private_part_leaves_no_trace(storage: SqlStorage, database: Database) -> None:
    """A revoked key's row holds no sealed part any more."""
    active = key("kid", KeyState.ACTIVE)
    await storage.write(add_all(active))
    await storage.write(lambda records: records.signing_keys.replace(active, active.revoked(AT + 5)))
    sealed = select(func.count(signing_keys.c.sealed_private_key), func.count(signing_keys.c.master_key_id))
    assert tuple(await database.read(lambda connection: connection.execute(sealed).one())) == (0, 0)


async def test_the_lock_lets_one_writer_in_at_a_time(storage: SqlStorage) -> None:
    """Of many processes that find the place empty under the lock, one fills it and the others see that."""

    def fill(kid: str, records: Records) -> bool:
        records.signing_keys.lock()
        if records.signing_keys.published():
            return False
        assert records.signing_keys.add(key(kid, KeyState.ACTIVE))
        return True

    attempts = [storage.write(partial(fill, f"kid{n}")) for n in range(20)]
    assert sorted(await asyncio.gather(*attempts)) == [False] * 19 + [True]


async def test_readers_go_on_while_the_keys_are_locked(storage: SqlStorage) -> None:
    """Publishing does not wait for a rotation."""
    stored = key("kid", KeyState.ACTIVE)
    await storage.write(add_all(stored))
    loop = asyncio.get_running_loop()
    read: list[SigningKeyRecord] = []

    def hold(records: Records) -> None:
        records.signing_keys.lock()
        records.signing_keys.replace(stored, replace(stored, observed_at=AT + 50))
        reading = asyncio.run_coroutine_threadsafe(storage.read(lambda reader: reader.signing_keys.published()), loop)
        read.extend(reading.result(timeout=5))

    await storage.write(hold)
    assert read == [stored]
