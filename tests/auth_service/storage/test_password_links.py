"""Password links in SQL, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from auth_service.model.account import Account
from auth_service.model.password_link import LinkEnd, PasswordLink
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from tests.auth_service.stored import NOW, account, password_link


@pytest.fixture
async def owner(storage: SqlStorage) -> Account:
    """An account that is stored."""
    stored = account()
    await storage.write(lambda records: records.accounts.add(stored))
    return stored


async def keep(storage: SqlStorage, *links: PasswordLink) -> None:
    def add(records: Records) -> None:
        for link in links:
            records.password_links.add(link)

    await storage.write(add)


async def stored(storage: SqlStorage, *links: PasswordLink) -> list[PasswordLink | None]:
    return await storage.read(lambda records: [records.password_links.find(link.token_hash) for link in links])


async def test_a_link_comes_back_as_it_was_stored(storage: SqlStorage, owner: Account) -> None:
    """Every field survives storage, instants to the last bit; what is not there is None."""
    link = password_link(replace(owner, password_changed_at=NOW / 3), at=NOW / 7)
    ended = replace(password_link(owner), ended_at=NOW + 1, end_reason=LinkEnd.SUPERSEDED)
    await keep(storage, link, ended)
    assert await stored(storage, link, ended, password_link(owner)) == [link, ended, None]


async def test_a_link_is_used_once(storage: SqlStorage, owner: Account) -> None:
    """The first use succeeds and stays in the row; what is unknown, ended or at its end is not used."""
    link, expired = password_link(owner), password_link(owner, lifetime=10)
    ended = replace(password_link(owner), ended_at=NOW, end_reason=LinkEnd.ACCOUNT_DISABLED)
    await keep(storage, link, expired, ended)

    async def use(one: PasswordLink) -> bool:
        return await storage.write(lambda records: records.password_links.use(one.token_hash, at=NOW + 10))

    assert [await use(one) for one in (link, link, expired, ended, password_link(owner))] == [True] + [False] * 4
    used = replace(link, ended_at=NOW + 10, end_reason=LinkEnd.USED)
    assert await stored(storage, link, expired, ended) == [used, expired, ended]


async def test_of_uses_at_once_one_counts(storage: SqlStorage, second_database: Database, owner: Account) -> None:
    """Twenty at two processes: one winner each time."""
    other = SqlStorage(second_database)
    for _ in range(10):
        link = password_link(owner)
        await keep(storage, link)

        def use(records: Records, wanted: bytes = link.token_hash) -> bool:
            return records.password_links.use(wanted, at=NOW)

        uses = await asyncio.gather(*(each.write(use) for each in (storage, other) for _ in range(10)))
        assert sorted(uses) == [False] * 19 + [True]


async def test_what_goes_on_is_ended(storage: SqlStorage, owner: Account) -> None:
    """All links of the account that have not ended; the others, and other accounts', stay as they are."""
    other = account("other")
    await storage.write(lambda records: records.accounts.add(other))
    first, second, foreign = password_link(owner), password_link(owner), password_link(other)
    used = replace(password_link(owner), ended_at=NOW, end_reason=LinkEnd.USED)
    await keep(storage, first, second, foreign, used)
    await storage.write(lambda records: records.password_links.end_all(owner.sub, LinkEnd.SUPERSEDED, at=NOW + 1))
    ended = [replace(link, ended_at=NOW + 1, end_reason=LinkEnd.SUPERSEDED) for link in (first, second)]
    assert await stored(storage, first, second, foreign, used) == [*ended, foreign, used]


async def test_a_link_goes_with_its_account(storage: SqlStorage, owner: Account) -> None:
    """Deleting the account takes it along; for nobody none can be stored."""
    link = password_link(owner)
    await keep(storage, link)
    await storage.write(lambda records: records.accounts.delete(owner.sub))
    assert await stored(storage, link) == [None]
    with pytest.raises(IntegrityError):
        await keep(storage, link)


async def test_old_links_are_swept_in_steps(storage: SqlStorage, owner: Account) -> None:
    """Those that expired before the line, however they ended, and never more at a time than asked for."""
    fresh = password_link(owner)
    old = [password_link(owner, at=NOW - 10_000) for _ in range(2)]
    used = replace(password_link(owner, at=NOW - 10_000), ended_at=NOW - 9_999, end_reason=LinkEnd.USED)
    await keep(storage, fresh, *old, used)
    swept = [
        await storage.write(lambda records: records.password_links.sweep(before=NOW - 5_000, limit=2)) for _ in range(3)
    ]
    assert swept == [2, 1, 0]
    assert await stored(storage, fresh, *old, used) == [fresh, None, None, None]
