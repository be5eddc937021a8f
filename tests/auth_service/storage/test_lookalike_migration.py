"""The newest migration that computes the look-alike keys anew, on accounts that an earlier release has made."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection

from auth_service.identity.usernames import lookalike_key, read_username
from auth_service.model.account import Account
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from tests.auth_service.stored import NOW, account

REVISION: Any = import_module("auth_service.storage.migrations.versions.0007_lookalike_keys")
SPOOF = "\u0430\u0440\u0440\u04cf\u0435"


def upgrade(connection: Connection) -> None:
    with Operations.context(MigrationContext.configure(connection)):
        REVISION.upgrade()


async def keys_after(database: Database, storage: SqlStorage, *made: Account) -> list[str]:
    """The look-alike keys of these accounts once the migration has run on them, twice."""

    async def keys() -> list[str]:
        listed = await storage.read(lambda records: records.accounts.list())
        found = {one.sub: one for one in listed}
        assert {one.username_key for one in listed} == {one.username_key for one in made}
        return [found[one.sub].lookalike_key for one in made]

    assert await storage.write(lambda records: all(records.accounts.add(one) for one in made))
    await database.write(upgrade)
    once = await keys()
    await database.write(upgrade)
    assert await keys() == once
    return once


def made(username: str, old_key: str, age: int) -> Account:
    """An account that is `age` seconds old, with the key of an earlier release."""
    key = read_username(username).key
    return account(username, username_key=key, lookalike_key=old_key, created_at=NOW - age)


async def test_a_key_that_is_right_stays(database: Database, storage: SqlStorage) -> None:
    """Nothing is written where nothing changes."""
    names = ["alice", "Irma", "user1", "\u0436\u0430\u043d\u043d\u0430"]
    assert await keys_after(database, storage, *(made(name, lookalike_key(name), 0) for name in names)) == [
        lookalike_key(name) for name in names
    ]


async def test_a_key_that_was_wrong_is_computed_anew(database: Database, storage: SqlStorage) -> None:
    """From then on the name keeps those away that look like it."""
    assert await keys_after(database, storage, made(SPOOF, "appie", 0)) == ["apple"]
    assert not await storage.write(lambda records: records.accounts.add(account("apple")))
    assert await storage.write(lambda records: records.accounts.add(account("appie")))


@pytest.mark.parametrize("age", [-1, 1])
async def test_two_that_now_look_alike_both_go_on(database: Database, storage: SqlStorage, age: int) -> None:
    """Who has the key keeps it, whichever is older; the other has one that no name can have; no third joins them."""
    keys = await keys_after(database, storage, made("apple", "apple", 0), made(SPOOF, "appie", age))
    assert keys[0] == "apple"
    assert " " in keys[1]
    assert not await storage.write(lambda records: records.accounts.add(account("other", lookalike_key="apple")))


@pytest.mark.parametrize("spoof", ["j\u0307oe", "jo\U00016fe4e", "joe\u2d7f"])
async def test_a_dot_or_a_filler_that_told_two_apart_locks_neither_out(
    database: Database, storage: SqlStorage, spoof: str
) -> None:
    """Both keep their names and sign in; a third that looks like them cannot be made."""
    first, second = made("joe", "joe", 2), made(spoof, spoof, 1)
    keys = await keys_after(database, storage, first, second)
    assert keys == ["joe", f"joe {second.sub}"]
    assert await storage.read(lambda records: records.accounts.find_by_username_key(second.username_key))
    third = made("jo\u2d7fe", lookalike_key("jo\u2d7fe"), 0)
    assert not await storage.write(lambda records: records.accounts.add(third))


async def test_of_two_that_come_to_a_key_the_older_has_it(database: Database, storage: SqlStorage) -> None:
    """In the order in which they were made."""
    other = "app\u04cfe"
    keys = await keys_after(database, storage, made(SPOOF, "appie", 1), made(other, "appie of another", 2))
    assert keys[1] == "apple"
    assert " " in keys[0]


async def test_keys_that_move_on_do_not_stand_in_each_others_way(database: Database, storage: SqlStorage) -> None:
    """One comes to the key that another leaves."""
    first, second = made(SPOOF, "appie", 2), made("appie", "apple", 1)
    assert await keys_after(database, storage, first, second) == ["apple", "appie"]
