"""Accounts in SQL, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from auth_service.model.account import Account
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from tests.auth_service.stored import NOW, account, session


async def add(storage: SqlStorage, one: Account) -> bool:
    return await storage.write(lambda records: records.accounts.add(one))


async def test_an_account_comes_back_as_it_was_stored(storage: SqlStorage) -> None:
    """Every field survives storage exactly, instants to the last bit and text beyond the BMP included."""
    stored = account("Жанна", name="Жанна 🌊", email="z@example.org", email_verified=True, created_at=NOW / 3)
    assert await add(storage, stored)
    assert await storage.read(lambda records: records.accounts.find(stored.sub)) == stored
    assert await storage.read(lambda records: records.accounts.find_by_username_key("Жанна")) == stored


async def test_an_account_without_password_comes_back_without(storage: SqlStorage) -> None:
    """No password is None, not an empty hash."""
    stored = account(password_hash=None)
    await add(storage, stored)
    assert await storage.read(lambda records: records.accounts.find(stored.sub)) == stored


async def test_what_is_not_there_is_none(storage: SqlStorage) -> None:
    """Not found is None, by subject, by name and when it is to be held."""

    def look(records: Records) -> list[object]:
        accounts = records.accounts
        return [accounts.find("nobody"), accounts.find_by_username_key(""), accounts.hold("nobody")]

    assert await storage.write(look) == [None, None, None]


async def test_a_name_is_given_once(storage: SqlStorage) -> None:
    """A second account with the same key, or with the same look, is not stored, and the first stays as it was."""
    first = account("coco", lookalike_key="coco")
    same_key = account("coco", lookalike_key="another")
    same_look = account("CYRILLIC", lookalike_key="coco")
    added = [await add(storage, one) for one in (first, same_key, same_look)]
    assert added == [True, False, False]
    assert await storage.read(lambda records: records.accounts.list()) == [first]


async def test_concurrent_registrations_of_one_name_have_one_winner(
    storage: SqlStorage, second_database: Database
) -> None:
    """Forty registrations of one name over two sets of connections: one is stored, the others learn that it is."""
    both = [storage, SqlStorage(second_database)]
    contenders = [account("alice") for _ in range(40)]
    added = await asyncio.gather(*(add(both[index % 2], one) for index, one in enumerate(contenders)))
    assert added.count(True) == 1
    assert await storage.read(lambda records: records.accounts.list()) == [contenders[added.index(True)]]


async def test_an_update_stores_what_may_change(storage: SqlStorage) -> None:
    """State, password and profile change; the subject and the day of birth do not."""
    stored = account()
    changed = replace(stored.disabled().with_password("$new", at=NOW + 1), email="a@example.org", name="A")
    await add(storage, stored)
    await storage.write(lambda records: records.accounts.update(changed))
    assert await storage.read(lambda records: records.accounts.find(stored.sub)) == changed


async def test_a_held_account_is_kept_from_other_writers(storage: SqlStorage, second_database: Database) -> None:
    """Read, change, write under a hold loses no change, however many do it at once."""
    stored = account(name="")
    await add(storage, stored)

    def lengthen(records: Records) -> None:
        held = records.accounts.hold(stored.sub)
        assert held is not None
        records.accounts.update(replace(held, name=(held.name or "") + "x"))

    both = [storage, SqlStorage(second_database)]
    await asyncio.gather(*(both[index % 2].write(lengthen) for index in range(40)))
    found = await storage.read(lambda records: records.accounts.find(stored.sub))
    assert found is not None
    assert found.name == "x" * 40


async def test_a_deleted_account_leaves_nothing_behind(storage: SqlStorage) -> None:
    """Its sessions go with it, another account's stay (hostile case: CVE-2026-42186)."""
    gone, stays = account("gone"), account("stays")
    their_sessions = [session(gone.sub)[0], session(stays.sub)[0]]

    def prepare(records: Records) -> None:
        for one in (gone, stays):
            records.accounts.add(one)
        for one_session in their_sessions:
            records.sessions.add(one_session)

    await storage.write(prepare)
    await storage.write(lambda records: records.accounts.delete(gone.sub))
    assert await storage.read(lambda records: records.accounts.list()) == [stays]
    left = await storage.read(lambda records: [records.sessions.find(one.sid) for one in their_sessions])
    assert left == [None, their_sessions[1]]


async def test_accounts_are_listed_in_pages(storage: SqlStorage) -> None:
    """Every account is on exactly one page, whatever its name is made of."""
    names = ["alice", "Zoë", "жанна", "bob", "0", "~", "李"]
    for name in names:
        await add(storage, account(name))
    listed: list[str] = []

    def next_page(records: Records) -> list[str]:
        page = records.accounts.list(after_key=listed[-1] if listed else "", limit=2)
        return [one.username_key for one in page]

    while page := await storage.read(next_page):
        assert len(page) <= 2
        listed += page
    assert sorted(listed) == sorted(names)
