"""Positions in status lists, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import pytest
from sqlalchemy import insert

from auth_service.model.revocation import revoked_account, revoked_session, revoked_token
from auth_service.model.session import EndReason
from auth_service.model.status_list import LIST_LENGTH
from auth_service.model.storage import Records
from auth_service.storage import status_lists
from auth_service.storage.status_lists import NoFreePosition
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import status_positions
from shared.database import Database
from tests.auth_service.stored import NOW, account, session

WRITERS = 8
SESSIONS = 12


async def assign(storage: SqlStorage, *sids: str, expires_at: float = NOW) -> list[int]:
    return await storage.write(
        lambda records: [records.status_lists.assign(sid, expires_at=expires_at) for sid in sids]
    )


async def invalid(storage: SqlStorage) -> list[int]:
    return sorted(await storage.read(lambda records: records.status_lists.invalid()))


async def count(storage: SqlStorage) -> int:
    return await storage.read(lambda records: records.status_lists.count())


async def test_a_position_is_a_place_in_the_lists_there_are(storage: SqlStorage) -> None:
    """The first session begins the first list; no two have one position, and none follows from another."""
    assert await count(storage) == 0
    positions = await assign(storage, *(f"s{number}" for number in range(100)))
    assert await count(storage) == 1
    assert len(set(positions)) == 100
    assert all(0 <= position < LIST_LENGTH for position in positions)
    # At random: 100 in order, or all in one half of the list, do not happen.
    assert positions != sorted(positions)
    assert min(positions) < LIST_LENGTH // 2 < max(positions)


async def test_a_session_has_one_position_and_no_second(storage: SqlStorage) -> None:
    """To ask again is a mistake of ours, which ends instead of drawing for ever."""
    await assign(storage, "s")
    with pytest.raises(NoFreePosition):
        await assign(storage, "s")


async def test_a_full_list_is_followed_by_the_next(
    storage: SqlStorage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no draw is free; from then on both are drawn from, so that the first fills up again."""
    monkeypatch.setattr(status_lists, "LIST_LENGTH", 8)
    await assign(storage, *(f"s{number}" for number in range(40)))
    lists = await count(storage)
    assert 5 <= lists <= 12
    rows = [{"position": 8 * lists + idx, "identifier_hash": bytes([idx]), "expires_at": NOW} for idx in range(8)]
    await database.write(lambda connection: connection.execute(insert(status_positions), rows))
    assert await count(storage) == lists + 1
    freed = await storage.write(lambda records: records.status_lists.sweep(before=NOW + 1, limit=10_000))
    assert freed == 48
    assert await count(storage) == 0
    assert all(position < 8 for position in await assign(storage, "a", "b", "c"))


async def test_what_the_feed_has_is_what_the_lists_say(storage: SqlStorage) -> None:
    """A session's entry and no other kind; as long as the feed has it, whoever wrote it, also when its row is gone."""
    ended, deleted, _going_on = await assign(storage, "ended", "deleted", "going on")

    def end(records: Records) -> None:
        for sid in ("ended", "deleted", "without a position"):
            records.revocations.append(revoked_session(sid, at=NOW))
        records.revocations.append(revoked_token("going on", expires_at=NOW))
        records.revocations.append(revoked_account("going on", at=NOW, for_good=True))

    await storage.write(end)
    assert await invalid(storage) == sorted([ended, deleted])
    last = revoked_session("ended", at=NOW).expires_at
    await storage.write(lambda records: records.revocations.sweep(before=last + 1, limit=10))
    assert await invalid(storage) == []


async def test_a_position_is_kept_with_its_session(storage: SqlStorage) -> None:
    """It comes back with the row; one that had none may get it when it goes on."""
    owner = account()
    opened = session(owner.sub)[0]

    def keep(records: Records) -> None:
        records.accounts.add(owner)
        records.sessions.add(opened)

    await storage.write(keep)
    assert await storage.read(lambda records: records.sessions.find(opened.sid)) == opened
    listed = replace(opened, status_position=3 * LIST_LENGTH + 7)
    await storage.write(lambda records: records.sessions.update(listed))
    assert await storage.read(lambda records: records.sessions.find(opened.sid)) == listed


async def test_positions_are_freed_with_their_sessions(storage: SqlStorage, database: Database) -> None:
    """Swept sessions free theirs; those of a deleted account stay taken, and invalid, until their time is over."""
    owner, gone = account(), account("bob")
    ended, deleted = session(owner.sub)[0], session(gone.sub)[0]
    places = await assign(storage, ended.sid, deleted.sid, expires_at=NOW + 10_000)
    ended = replace(ended, status_position=places[0]).end(EndReason.LOGOUT, at=NOW)
    deleted = replace(deleted, status_position=places[1])

    def keep_and_delete(records: Records) -> None:
        for one, opened in ((owner, ended), (gone, deleted)):
            records.accounts.add(one)
            records.sessions.add(opened)
            records.revocations.append(revoked_session(opened.sid, at=NOW))
        records.accounts.delete(gone.sub)

    async def taken() -> set[int]:
        rows = await database.read(
            lambda connection: connection.exec_driver_sql("SELECT position FROM status_positions").scalars().all()
        )
        return set(rows)

    await storage.write(keep_and_delete)
    assert await invalid(storage) == sorted(places)
    assert await storage.write(lambda records: records.sessions.sweep(before=NOW, limit=10)) == 0
    assert await taken() == set(places)
    assert await storage.write(lambda records: records.sessions.sweep(before=NOW + 1, limit=10)) == 1
    assert await taken() == {places[1]}
    assert await storage.write(lambda records: records.status_lists.sweep(before=NOW + 10_000, limit=10)) == 0
    assert await storage.write(lambda records: records.status_lists.sweep(before=NOW + 10_001, limit=10)) == 1
    assert await taken() == set()


async def test_many_at_once_get_different_positions(
    storage: SqlStorage, second_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two sets of connections, in lists so small that they fight for every place and begin new ones together."""
    monkeypatch.setattr(status_lists, "LIST_LENGTH", 64)
    other = SqlStorage(second_database)

    async def work(writer: int) -> list[int]:
        mine = storage if writer % 2 else other
        return [(await assign(mine, f"{writer}-{number}"))[0] for number in range(SESSIONS)]

    positions = [position for mine in await asyncio.gather(*map(work, range(WRITERS))) for position in mine]
    assert len(set(positions)) == WRITERS * SESSIONS
    assert await count(storage) == max(positions) // 64 + 1


async def test_a_transaction_that_fails_takes_no_position(storage: SqlStorage) -> None:
    """It is taken with the session, or not at all."""

    def fail(records: Records) -> None:
        records.status_lists.assign(secrets.token_urlsafe(), expires_at=NOW)
        raise KeyError

    with pytest.raises(KeyError):
        await storage.write(fail)
    assert await count(storage) == 0
