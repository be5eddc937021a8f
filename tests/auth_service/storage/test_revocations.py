"""The feed in the database: numbers in the order of commits, marks that tell histories apart."""

from __future__ import annotations

import asyncio

from auth_service.model.revocation import (
    ENTRY_SECONDS,
    FeedPart,
    revoked_account,
    revoked_session,
    revoked_token,
)
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.revocation_feed import Position, RevokedKind, identifier_hash, ungroup
from tests.auth_service.stored import NOW

WRITERS = 8
WRITES = 15


async def append(storage: SqlStorage, *names: str) -> Position:
    def work(records: Records) -> None:
        for name in names:
            records.revocations.append(revoked_session(name, at=NOW))

    await storage.write(work)
    return await storage.read(lambda records: records.revocations.head())


async def test_a_feed_begins_empty_and_grows_by_one(storage: SqlStorage) -> None:
    """Each entry has the next number; those of one transaction share its mark."""
    head = await storage.read(lambda records: records.revocations.head())
    assert head == Position(0, "0")
    first, second = await append(storage, "a"), await append(storage, "b", "c")
    assert (first.seq, second.seq) == (1, 3)
    assert first.mark != second.mark
    part = await storage.read(lambda records: records.revocations.between(0, 3, limit=10))
    assert (part.size, part.reached) == (3, second)
    assert ungroup(part.groups) == [revoked_session(name, at=NOW) for name in "abc"]


async def test_a_part_is_what_was_asked_for(storage: SqlStorage) -> None:
    """Behind `after`, not behind `head`, at most `limit`."""
    await append(storage, *"abcdef")
    part = await storage.read(lambda records: records.revocations.between(1, 5, limit=3))
    assert part.reached is not None
    assert part.reached.seq == 4
    assert ungroup(part.groups) == [revoked_session(name, at=NOW) for name in "bcd"]
    assert await storage.read(lambda records: records.revocations.between(6, 6, limit=3)) == (0, [], None)


async def test_what_is_alike_is_one_group(storage: SqlStorage) -> None:
    """Kind, `before` and expiry; entries of one minute expire together, never too soon."""
    minute = 1_800_000_000
    ends = [minute, minute + 1, minute + 60, minute + 61]

    def work(records: Records) -> None:
        for number, at in enumerate(ends):
            records.revocations.append(revoked_session(f"s{number}", at=at))
        records.revocations.append(revoked_account("u", at=minute, for_good=False))

    await storage.write(work)
    groups = (await storage.read(lambda records: records.revocations.between(0, 9, limit=9))).groups
    assert [(each.kind.value, each.before, len(each.identifier_hashes)) for each in groups] == [
        ("sid", None, 1),
        ("sid", None, 2),
        ("sid", None, 1),
        ("sub", minute, 1),
    ]
    for entry, at in zip(ungroup(groups)[:4], ends, strict=True):
        assert at + ENTRY_SECONDS <= entry.expires_at < at + ENTRY_SECONDS + 60


async def test_a_transaction_that_fails_leaves_no_gap(storage: SqlStorage) -> None:
    """The number is given with the commit, so it is given back with a rollback."""
    await append(storage, "a")

    def fail(records: Records) -> None:
        records.revocations.append(revoked_session("lost", at=NOW))
        raise KeyError

    try:
        await storage.write(fail)
    except KeyError:
        pass
    else:
        raise AssertionError
    assert (await append(storage, "b")).seq == 2


def next_part(records: Records, after: int) -> FeedPart:
    return records.revocations.between(after, records.revocations.head().seq, limit=7)


async def test_numbers_follow_commits_whoever_commits(storage: SqlStorage, second_database: Database) -> None:
    """A reader that asks all the time, with writers on two sets of connections, never finds a number below its own."""
    other, done = SqlStorage(second_database), asyncio.Event()
    seen: list[bytes] = []

    async def read_on() -> None:
        after = 0
        while not done.is_set() or after < WRITERS * WRITES:
            part = await other.read(lambda records, after=after: next_part(records, after))  # type: ignore[misc]
            if part.reached is not None:
                assert part.reached.seq == after + part.size
                seen.extend(entry.identifier_hash for entry in ungroup(part.groups))
                after = part.reached.seq

    async def write_on(writer: int) -> None:
        for number in range(WRITES):
            await append(storage if writer % 2 else other, f"{writer}-{number}")

    reading = asyncio.create_task(read_on())
    await asyncio.gather(*(write_on(writer) for writer in range(WRITERS)))
    done.set()
    await asyncio.wait_for(reading, 20)
    names = [f"{writer}-{number}" for writer in range(WRITERS) for number in range(WRITES)]
    assert sorted(seen) == sorted(map(identifier_hash, names))


async def test_a_position_of_another_history_is_not_known(storage: SqlStorage) -> None:
    """A restored database gives other marks to the numbers it had given before."""
    first, second = await append(storage, "a"), await append(storage, "b")

    def known(position: Position) -> asyncio.Future[bool]:
        return asyncio.ensure_future(storage.read(lambda records: records.revocations.contains(position)))

    assert await known(first)
    assert await known(second)
    assert not await known(Position(first.seq, second.mark))
    assert not await known(Position(9, second.mark))


async def test_entries_go_by_age_and_the_end_stays(storage: SqlStorage) -> None:
    """What is swept is gone; the next number is the next one all the same."""
    await append(storage, "a", "b", "c")
    last = revoked_session("a", at=NOW).expires_at
    assert await storage.write(lambda records: records.revocations.sweep(before=last, limit=10)) == 0
    assert await storage.write(lambda records: records.revocations.sweep(before=last + 1, limit=2)) == 2
    assert await storage.write(lambda records: records.revocations.sweep(before=last + 1, limit=2)) == 1
    head = await storage.read(lambda records: records.revocations.head())
    assert head.seq == 3
    assert await storage.read(lambda records: records.revocations.contains(head))
    assert (await append(storage, "d")).seq == 4


async def test_what_is_covered_is_found_by_its_identifier(storage: SqlStorage) -> None:
    """Of the same kind, and no other."""
    await storage.write(lambda records: records.revocations.append(revoked_token("t", expires_at=NOW)))
    assert await storage.read(lambda records: records.revocations.covers(RevokedKind.TOKEN, "t"))
    assert not await storage.read(lambda records: records.revocations.covers(RevokedKind.SESSION, "t"))
    assert not await storage.read(lambda records: records.revocations.covers(RevokedKind.TOKEN, "u"))
