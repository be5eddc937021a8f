"""Where items are kept: each call is one transaction, bound to one owner."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, func, select

from resource_service.user_data.item import Item, Owner, Quota, QuotaExceeded
from resource_service.user_data.kept_reads import KeptReads
from resource_service.user_data.preconditions import Preconditions
from resource_service.user_data.tables import items, owners
from shared.clock import Clock
from shared.database import Database
from shared.database_version import Version
from shared.errors import PreconditionFailed
from shared.upsert import insert_into

MIGRATIONS = Path(__file__).parent / "migrations"
PAGE_BYTES = 262_144
"""A listing is read in pieces of about this size, so that one reader who is slow holds no more than one of them."""
ITEM_BYTES = 200
"""What an item takes in memory beside its value."""
ETAG_BYTES = 16
"""Random, so that an item deleted and made again never has a tag it had before."""
ERASED_TOGETHER = 100
"""What one transaction of an erasure removes at most: 6.5 MB, because on SQLite everything else waits for it."""
ERASE_PAUSE_SECONDS = 0.01
"""Between two of them: whoever waits for SQLite's one writer comes in between."""


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a listing in the order of names; `next_after` is where the next piece starts, None at the end."""

    items: list[tuple[str, bytes]]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a write left behind."""

    etag: str
    created: bool


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure removed; bytes count the values and the names."""

    items: int
    bytes: int


class ItemStore:
    """The items in the service's database. Its methods raise DatabaseUnavailable when storage failed."""

    def __init__(self, database: Database, version: Version, quota: Quota, clock: Clock) -> None:
        self._database = database
        self._quota = quota
        self._clock = clock
        self._items: KeptReads[Item] = KeptReads(version)
        self._pages: KeptReads[Page] = KeptReads(version)

    async def find(self, owner: Owner, name: str) -> Item | None:
        """The item, or None where this owner has none of that name."""
        version = self._items.version()
        kept = self._items.find((owner, name), version)
        if kept is not None:
            return kept
        keys = {**_of(owner), "of_name": name}

        def work(connection: Connection) -> Item | None:
            row = connection.execute(_FIND, keys).first()
            return None if row is None else Item(name, row[0], row[1])

        item = await self._database.read(work)
        if item is not None:
            self._items.keep((owner, name), version, item, len(item.value))
        return item

    async def page(self, owner: Owner, after: str = "") -> Page:
        """The items whose names come after `after`, as many as make up about PAGE_BYTES."""
        version = self._pages.version()
        kept = self._pages.find((owner, after), version)
        if kept is not None:
            return kept
        keys = {**_of(owner), "of_after": after}

        def work(connection: Connection) -> Page:
            rows = connection.execute(_PAGE, keys)
            found: list[tuple[str, bytes]] = []
            room = PAGE_BYTES
            for name, value in rows:
                found.append((name, value))
                room -= len(name) + len(value)
                if room <= 0:
                    rows.close()
                    return Page(found, name)
            return Page(found, None)

        page = await self._database.read(work)
        self._pages.keep((owner, after), version, page, sum(ITEM_BYTES + len(value) for _, value in page.items))
        return page

    async def put(self, owner: Owner, name: str, value: bytes, preconditions: Preconditions) -> Stored:
        """Create or replace the item; raise PreconditionFailed or QuotaExceeded and change nothing."""
        etag = secrets.token_urlsafe(ETAG_BYTES)
        updated_at = int(self._clock.now())

        def work(connection: Connection) -> Stored:
            account = _lock_owner(connection, owner)
            current = connection.execute(_CURRENT, {"of_owner": account.id, "of_name": name}).first()
            if not preconditions.hold(None if current is None else current.etag):
                raise _precondition_failed()
            size = len(value) + len(name)
            item_count = account.item_count + (1 if current is None else 0)
            byte_count = account.byte_count + size - (0 if current is None else current.size)
            self._check_quota(account, item_count, byte_count)
            content = {"value": value, "etag": etag, "updated_at": updated_at}
            if current is None:
                connection.execute(_INSERT, {"owner_id": account.id, "name": name, **content})
            else:
                connection.execute(_REPLACE, {"of_owner": account.id, "of_name": name, **content})
            connection.execute(_COUNT, {"of_id": account.id, "item_count": item_count, "byte_count": byte_count})
            return Stored(etag, created=current is None)

        return await self._database.write(work)

    async def delete(self, owner: Owner, name: str, preconditions: Preconditions) -> bool:
        """Delete the item and return whether there was one; raise PreconditionFailed and change nothing."""

        def work(connection: Connection) -> bool:
            account = connection.execute(_LOCK, _of(owner)).first()
            if account is None:
                return False
            keys = {"of_owner": account.id, "of_name": name}
            current = connection.execute(_CURRENT, keys).first()
            if current is None:
                return False
            if not preconditions.hold(current.etag):
                raise _precondition_failed()
            connection.execute(_DELETE, keys)
            if account.item_count == 1:
                connection.execute(_FORGET, {"of_id": account.id})
            else:
                counts = {"item_count": account.item_count - 1, "byte_count": account.byte_count - current.size}
                connection.execute(_COUNT, {"of_id": account.id, **counts})
            return True

        return await self._database.write(work)

    async def erase(self, owner: Owner) -> Erased:
        """Delete everything that the owner has, a few items at a time; what is written after the last of them stays.

        When it raises, some may be gone, and the counts are right: it can be called again.
        """
        items_gone = bytes_gone = 0
        while True:
            step, is_done = await self._database.write(lambda connection: _erase_some(connection, owner))
            items_gone += step.items
            bytes_gone += step.bytes
            if is_done:
                return Erased(items_gone, bytes_gone)
            await asyncio.sleep(ERASE_PAUSE_SECONDS)

    def _check_quota(self, account: Any, item_count: int, byte_count: int) -> None:
        # What does not grow is let through, also for an owner whom a lowered limit has left above it.
        if item_count > max(self._quota.items, account.item_count):
            raise QuotaExceeded(f"There may be at most {self._quota.items} items; delete one first.")
        if byte_count > max(self._quota.bytes, account.byte_count):
            raise QuotaExceeded(f"The items may have at most {self._quota.bytes} bytes together; delete some first.")


def _of(owner: Owner) -> dict[str, str]:
    return {"of_issuer": owner.issuer, "of_subject": owner.subject}


def _precondition_failed() -> PreconditionFailed:
    return PreconditionFailed("The item is not in the state that If-Match or If-None-Match asks for.")


def _lock_owner(connection: Connection, owner: Owner) -> Any:
    """The owner's row, made where it is missing, and locked: whoever else writes for this owner waits."""
    row = {"issuer": owner.issuer, "subject": owner.subject, "item_count": 0, "byte_count": 0}
    return connection.execute(_insert_or_lock(connection.dialect.name), row).one()


def _erase_some(connection: Connection, owner: Owner) -> tuple[Erased, bool]:
    """Delete the first items of the owner's; whether they were the last, and the owner's row went with them."""
    account = connection.execute(_LOCK, _of(owner)).first()
    if account is None:
        return Erased(0, 0), True
    first = connection.execute(_FIRST, {"of_owner": account.id}).all()
    step = Erased(len(first), sum(row.size for row in first))
    if first:
        connection.execute(_DELETE_UP_TO, {"of_owner": account.id, "of_last": first[-1].name})
    is_done = len(first) < ERASED_TOGETHER or len(first) == account.item_count
    if is_done:
        connection.execute(_FORGET, {"of_id": account.id})
    else:
        counts = {"item_count": account.item_count - step.items, "byte_count": account.byte_count - step.bytes}
        connection.execute(_COUNT, {"of_id": account.id, **counts})
    return step, is_done


@lru_cache
def _insert_or_lock(dialect: str) -> Executable:
    insert = insert_into(owners, dialect)
    # An update that changes nothing: DO NOTHING would neither lock nor return the row that is there.
    unchanged = {"issuer": insert.excluded.issuer}
    statement = insert.on_conflict_do_update(index_elements=["issuer", "subject"], set_=unchanged)
    return statement.returning(owners.c.id, owners.c.item_count, owners.c.byte_count)


# Parameters of a WHERE clause begin with `of_`: a plain column name would be taken for one to set.
_OWNED = (owners.c.issuer == bindparam("of_issuer")) & (owners.c.subject == bindparam("of_subject"))
_NAMED = items.c.name == bindparam("of_name")
_OF_OWNER = items.c.owner_id == bindparam("of_owner")
_ITEM = _OF_OWNER & _NAMED
_OWNER = owners.c.id == bindparam("of_id")
_SIZE = (func.length(items.c.value) + func.length(items.c.name)).label("size")

_FIND = select(items.c.value, items.c.etag).join(owners).where(_OWNED, _NAMED)
_FOLLOWING = items.c.name > bindparam("of_after")
_ALL = select(items.c.name, items.c.value).join(owners).where(_OWNED, _FOLLOWING).order_by(items.c.name)
# Fetched as they are read: the driver must not hold what a page has no room for.
_PAGE = _ALL.execution_options(yield_per=16)
_LOCK = select(owners.c.id, owners.c.item_count, owners.c.byte_count).where(_OWNED).with_for_update()
_CURRENT = select(items.c.etag, _SIZE).where(_ITEM)
_INSERT = items.insert()
_REPLACE = items.update().where(_ITEM)
_DELETE = items.delete().where(_ITEM)
_FIRST = select(items.c.name, _SIZE).where(_OF_OWNER).order_by(items.c.name).limit(ERASED_TOGETHER)
_DELETE_UP_TO = items.delete().where(_OF_OWNER, items.c.name <= bindparam("of_last"))
_FORGET = owners.delete().where(_OWNER)
_COUNT = owners.update().where(_OWNER)
