"""The store: one suite for both databases, with concurrent use."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

import resource_service.user_data.store
from resource_service.user_data.item import Item, Owner, Quota, QuotaExceeded
from resource_service.user_data.preconditions import UNCONDITIONAL, EntityTags, Preconditions
from resource_service.user_data.store import MIGRATIONS, Erased, ItemStore, Page
from resource_service.user_data.tables import items, owners
from shared.database import Database
from shared.database_version import DatabaseVersion, VersionOfTheTurn
from shared.errors import PreconditionFailed
from shared.migrations import migrate
from shared.transactions import DatabaseUnavailable
from tests.clock import FrozenClock
from tests.resource_service.user_data.conftest import QUOTA

ANN = Owner("https://auth.example", "ann")
OTHERS = [Owner("https://auth.example", "bob"), Owner("https://other.example", "ann"), Owner("", ""), Owner("x", "ANN")]
UNKNOWN = DatabaseVersion(None)
ONLY_NEW = Preconditions(if_none_match=EntityTags(any=True))
ONLY_OLD = Preconditions(if_match=EntityTags(any=True))


def only(etag: str) -> Preconditions:
    return Preconditions(if_match=EntityTags(strong=frozenset({etag})))


async def listing(store: ItemStore, owner: Owner) -> dict[str, bytes]:
    """Everything an owner has, over all pages."""
    found: list[tuple[str, bytes]] = []
    page = await store.page(owner)
    found += page.items
    while page.next_after is not None:
        page = await store.page(owner, page.next_after)
        found += page.items
    assert [name for name, _ in found] == sorted({name for name, _ in found})
    return dict(found)


async def counted(database: Database) -> list[tuple[int, int]]:
    """What each owner's row says, and that it is true."""

    def work(connection: Connection) -> list[tuple[int, int]]:
        size = func.length(items.c.name) + func.length(items.c.value)
        real = select(items.c.owner_id, func.count(), func.sum(size)).group_by(items.c.owner_id)
        said = select(owners.c.id, owners.c.item_count, owners.c.byte_count)
        rows = sorted(tuple(row) for row in connection.execute(said))
        assert rows == sorted(tuple(row) for row in connection.execute(real))
        return [(count, size) for _, count, size in rows]

    return await database.read(work)


async def test_an_item_comes_back_as_it_was_put(store: ItemStore) -> None:
    """The value is the bytes that were sent; its tag is the one that was answered."""
    stored = await store.put(ANN, "a", b' {"x" : 1.0} ', UNCONDITIONAL)
    assert stored.created
    assert await store.find(ANN, "a") == Item("a", b' {"x" : 1.0} ', stored.etag)


async def test_replacing_changes_value_and_tag(store: ItemStore) -> None:
    """Every write has a tag of its own, also one that writes the same value."""
    tags = [(await store.put(ANN, "a", b"1", UNCONDITIONAL)).etag for _ in range(3)]
    replaced = await store.put(ANN, "a", b"2", UNCONDITIONAL)
    assert not replaced.created
    assert await store.find(ANN, "a") == Item("a", b"2", replaced.etag)
    assert len({*tags, replaced.etag}) == 4


async def test_a_deleted_item_is_gone_and_its_tag_never_comes_back(store: ItemStore) -> None:
    """Deleting says whether there was something; made again, the item has a new tag."""
    first = await store.put(ANN, "a", b"1", UNCONDITIONAL)
    assert await store.delete(ANN, "a", UNCONDITIONAL)
    assert await store.find(ANN, "a") is None
    assert not await store.delete(ANN, "a", UNCONDITIONAL)
    assert (await store.put(ANN, "a", b"1", UNCONDITIONAL)).etag != first.etag


async def test_names_differ_by_case(store: ItemStore) -> None:
    """`a` and `A` are two items."""
    await store.put(ANN, "a", b"1", UNCONDITIONAL)
    await store.put(ANN, "A", b"2", UNCONDITIONAL)
    assert await listing(store, ANN) == {"A": b"2", "a": b"1"}


@pytest.mark.parametrize("other", OTHERS)
async def test_another_owner_sees_and_changes_nothing(store: ItemStore, other: Owner) -> None:
    """Owners are told apart by issuer and subject together; what is another's does not exist."""
    stored = await store.put(ANN, "a", b"1", UNCONDITIONAL)
    assert await store.find(other, "a") is None
    assert await store.page(other) == Page([], None)
    assert not await store.delete(other, "a", UNCONDITIONAL)
    with pytest.raises(PreconditionFailed):
        await store.put(other, "a", b"2", only(stored.etag))
    assert (await store.put(other, "a", b"2", ONLY_NEW)).created
    assert await listing(store, ANN) == {"a": b"1"}


async def test_conditions_decide_over_writes(store: ItemStore) -> None:
    """What does not hold changes nothing and leaves no trace of the owner."""
    for refused in (ONLY_OLD, only("x")):
        with pytest.raises(PreconditionFailed):
            await store.put(ANN, "a", b"1", refused)
    first = await store.put(ANN, "a", b"1", ONLY_NEW)
    for refused in (ONLY_NEW, only("x")):
        with pytest.raises(PreconditionFailed):
            await store.put(ANN, "a", b"2", refused)
        with pytest.raises(PreconditionFailed):
            await store.delete(ANN, "a", refused)
    assert await store.find(ANN, "a") == Item("a", b"1", first.etag)
    second = await store.put(ANN, "a", b"2", only(first.etag))
    with pytest.raises(PreconditionFailed):
        await store.delete(ANN, "a", only(first.etag))
    assert await store.delete(ANN, "a", only(second.etag))
    # Nothing is there to delete, whatever was asked for (RFC 9110 section 13.2.1).
    assert not await store.delete(ANN, "a", only(second.etag))


async def test_a_refused_first_write_leaves_no_owner(store: ItemStore, database: Database) -> None:
    """An owner without items has no row, neither before the first nor after the last."""
    with pytest.raises(PreconditionFailed):
        await store.put(ANN, "a", b"1", ONLY_OLD)
    assert await counted(database) == []
    await store.put(ANN, "a", b"1", UNCONDITIONAL)
    await store.put(ANN, "b", b"22", UNCONDITIONAL)
    assert await counted(database) == [(2, 5)]
    for name in ("a", "b"):
        await store.delete(ANN, name, UNCONDITIONAL)
    assert await counted(database) == []


# Erasure.


async def filled(database: Database, owner: Owner, names: list[str]) -> ItemStore:
    """A store with room, in which the owner has an item of 10 bytes and its name for each of `names`."""
    store = ItemStore(database, UNKNOWN, Quota(items=1_000, bytes=100_000), FrozenClock())
    for name in names:
        await store.put(owner, name, b"0123456789", UNCONDITIONAL)
    return store


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
async def test_an_erasure_takes_everything_of_one_owner(database: Database, count: int) -> None:
    """However many steps it takes: items and owner go, what others have stays, and it is said how much went."""
    store = await filled(database, ANN, [f"n{number:03}" for number in range(count)])
    for other in OTHERS:
        await store.put(other, "n000", b"1", UNCONDITIONAL)
    assert await store.erase(ANN) == Erased(count, 14 * count)
    assert await listing(store, ANN) == {}
    for other in OTHERS:
        assert await listing(store, other) == {"n000": b"1"}
    assert await counted(database) == [(1, 5)] * len(OTHERS)


async def test_where_there_is_nothing_nothing_is_erased(store: ItemStore, database: Database) -> None:
    """Neither for an owner whom nobody knows nor for one who was erased already; none is made by it."""
    assert await store.erase(ANN) == Erased(0, 0)
    await store.put(ANN, "a", b"1", UNCONDITIONAL)
    assert await store.erase(ANN) == Erased(1, 2)
    assert await store.erase(ANN) == Erased(0, 0)
    assert await counted(database) == []


async def test_who_was_erased_begins_with_nothing_used_up(store: ItemStore) -> None:
    """The limits are an owner's own again; a former tag does not come back."""
    former = [await store.put(ANN, f"n{number}", b"1" * 100, UNCONDITIONAL) for number in range(5)]
    await store.erase(ANN)
    again = [await store.put(ANN, f"n{number}", b"1" * 100, ONLY_NEW) for number in range(5)]
    assert {stored.etag for stored in former}.isdisjoint(stored.etag for stored in again)
    with pytest.raises(QuotaExceeded):
        await store.put(ANN, "n5", b"1", UNCONDITIONAL)


async def test_another_process_sees_an_erasure_at_once(stores: list[ItemStore]) -> None:
    """What it has read and kept is not given again."""
    await stores[0].put(ANN, "a", b"1", UNCONDITIONAL)
    for _ in range(2):
        assert await stores[1].find(ANN, "a") is not None
        assert await listing(stores[1], ANN) == {"a": b"1"}
    await stores[0].erase(ANN)
    assert await stores[1].find(ANN, "a") is None
    assert await listing(stores[1], ANN) == {}


async def test_an_erasure_that_was_interrupted_can_be_gone_on_with(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps the counts are true; the next one takes the rest."""
    store = await filled(database, ANN, [f"n{number:03}" for number in range(150)])

    async def interrupted(_seconds: float) -> None:
        raise InterruptedError

    monkeypatch.setattr("resource_service.user_data.store.asyncio.sleep", interrupted)
    with pytest.raises(InterruptedError):
        await store.erase(ANN)
    assert await counted(database) == [(50, 700)]
    assert await store.erase(ANN) == Erased(50, 700)
    assert await counted(database) == []


async def test_writing_during_an_erasure_keeps_the_counts_true(stores: list[ItemStore], database: Database) -> None:
    """Each write is wholly before or wholly after; the erasure ends although the owner goes on."""
    await filled(database, ANN, [f"n{number:03}" for number in range(250)])

    async def work(number: int) -> None:
        for _ in range(10):
            with contextlib.suppress(QuotaExceeded):
                await stores[number % 2].put(ANN, f"n{number:03}", b"1", UNCONDITIONAL)
            await stores[number % 2].delete(ANN, f"n{number:03}", UNCONDITIONAL)

    await asyncio.gather(*(work(number) for number in range(0, 250, 50)), *(store.erase(ANN) for store in stores))
    await counted(database)
    await stores[0].erase(ANN)
    assert await counted(database) == []


# Limits.


async def test_the_number_of_items_is_limited(store: ItemStore, database: Database) -> None:
    """The last allowed one fits, the next is refused; replacing and other owners go on."""
    for number in range(5):
        await store.put(ANN, f"n{number}", b"1", UNCONDITIONAL)
    with pytest.raises(QuotaExceeded):
        await store.put(ANN, "n5", b"1", UNCONDITIONAL)
    await store.put(ANN, "n0", b"2", UNCONDITIONAL)
    await store.put(OTHERS[0], "n5", b"1", UNCONDITIONAL)
    await store.delete(ANN, "n1", UNCONDITIONAL)
    await store.put(ANN, "n5", b"1", UNCONDITIONAL)
    assert sorted(await counted(database)) == [(1, 3), (5, 15)]


async def test_the_bytes_together_are_limited(store: ItemStore) -> None:
    """Names and values count, to the byte; a smaller value makes room again."""
    await store.put(ANN, "aa", b"1" * 496, UNCONDITIONAL)
    with pytest.raises(QuotaExceeded):
        await store.put(ANN, "bb", b"1" * 501, UNCONDITIONAL)
    await store.put(ANN, "bb", b"1" * 500, UNCONDITIONAL)
    with pytest.raises(QuotaExceeded):
        await store.put(ANN, "aa", b"1" * 497, UNCONDITIONAL)
    await store.put(ANN, "aa", b"1" * 10, UNCONDITIONAL)
    await store.put(ANN, "bb", b"1" * 501, UNCONDITIONAL)


async def test_who_is_above_a_lowered_limit_may_still_shrink(store: ItemStore, database: Database) -> None:
    """A limit that was lowered refuses growth only, so that an owner can get below it."""
    for number in range(5):
        await store.put(ANN, f"n{number}", b"1" * 100, UNCONDITIONAL)
    lowered = ItemStore(database, UNKNOWN, Quota(items=2, bytes=50), FrozenClock())
    await lowered.put(ANN, "n0", b"1" * 100, UNCONDITIONAL)
    await lowered.put(ANN, "n0", b"1" * 10, UNCONDITIONAL)
    with pytest.raises(QuotaExceeded):
        await lowered.put(ANN, "n0", b"1" * 11, UNCONDITIONAL)
    with pytest.raises(QuotaExceeded):
        await lowered.put(ANN, "n9", b"1", UNCONDITIONAL)
    await lowered.delete(ANN, "n1", UNCONDITIONAL)


operations = st.lists(
    st.tuples(
        st.sampled_from("pd"), st.sampled_from(["a", "b", "c", "dd", "e", "f"]), st.binary(min_size=1, max_size=400)
    ),
    max_size=30,
)


@given(operations=operations)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_sequence_of_writes_leaves_what_a_dictionary_would(
    store: ItemStore, database: Database, operations: list[tuple[str, str, bytes]]
) -> None:
    """Items and counts agree with a plain model after every kind of history."""
    for name in await listing(store, ANN):
        await store.delete(ANN, name, UNCONDITIONAL)
    model: dict[str, bytes] = {}
    for kind, name, value in operations:
        if kind == "d":
            assert await store.delete(ANN, name, UNCONDITIONAL) is (model.pop(name, None) is not None)
            continue
        wanted = {**model, name: value}
        fits = len(wanted) <= 5 and sum(len(key) + len(item) for key, item in wanted.items()) <= 1_000
        grows = len(value) > len(model.get(name, b""))
        if fits or not grows:
            assert (await store.put(ANN, name, value, UNCONDITIONAL)).created is (name not in model)
            model = wanted
        else:
            with pytest.raises(QuotaExceeded):
                await store.put(ANN, name, value, UNCONDITIONAL)
    assert await listing(store, ANN) == model
    await counted(database)


# Concurrent use, through two pools as two processes would have them.


@pytest.fixture
async def stores(database: Database, database_url: str, store: ItemStore) -> AsyncIterator[list[ItemStore]]:
    """Two stores on one database, each with connections of its own."""
    other, version = Database.open(database_url), DatabaseVersion.open(database_url)
    yield [store, ItemStore(other, VersionOfTheTurn(version), QUOTA, FrozenClock())]
    version.close()
    await other.close()


async def test_of_many_conditional_writers_one_wins(stores: list[ItemStore]) -> None:
    """No update is lost: of all who saw the same state exactly one may write (RFC 9110 section 13.1.1)."""
    seen = (await stores[0].put(ANN, "a", b"0", UNCONDITIONAL)).etag
    for _ in range(5):
        results = await asyncio.gather(
            *(stores[number % 2].put(ANN, "a", b"%d" % number, only(seen)) for number in range(20)),
            return_exceptions=True,
        )
        winners = [(number, result) for number, result in enumerate(results) if not isinstance(result, BaseException)]
        assert len(winners) == 1
        assert all(
            isinstance(result, PreconditionFailed) for number, result in enumerate(results) if number != winners[0][0]
        )
        number, stored = winners[0]
        assert await stores[0].find(ANN, "a") == Item("a", b"%d" % number, stored.etag)
        seen = stored.etag


async def test_of_many_creators_one_wins(stores: list[ItemStore], database: Database) -> None:
    """`If-None-Match: *` creates once, also for an owner nobody has seen before."""
    for owner in OTHERS:
        results = await asyncio.gather(
            *(stores[number % 2].put(owner, "a", b"1", ONLY_NEW) for number in range(20)), return_exceptions=True
        )
        assert sum(isinstance(result, PreconditionFailed) for result in results) == 19
    assert await counted(database) == [(1, 2)] * len(OTHERS)


async def test_the_limit_holds_under_concurrent_writers(stores: list[ItemStore], database: Database) -> None:
    """Twenty at once for five places: five are stored."""
    results = await asyncio.gather(
        *(stores[number % 2].put(ANN, f"n{number}", b"1", UNCONDITIONAL) for number in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, QuotaExceeded) for result in results) == 15
    assert [count for count, _ in await counted(database)] == [5]


async def test_creating_and_deleting_at_once_keeps_the_counts_true(stores: list[ItemStore], database: Database) -> None:
    """The owner's row comes and goes under the writers, and never says anything untrue."""

    async def work(number: int) -> None:
        store = stores[number % 2]
        for _ in range(10):
            await store.put(ANN, f"n{number % 4}", b"1", UNCONDITIONAL)
            await store.delete(ANN, f"n{number % 4}", UNCONDITIONAL)

    await asyncio.gather(*(work(number) for number in range(8)))
    assert await listing(stores[0], ANN) == {}
    assert await counted(database) == []


@pytest.mark.parametrize("repeat", range(3))
async def test_whatever_is_kept_a_reader_sees_every_write_that_was_acknowledged(
    stores: list[ItemStore], repeat: int
) -> None:
    """Reads are kept while nothing changes: none is older than the last write, whichever process made it."""
    chance = random.Random(repeat)
    model: dict[str, bytes] = {}
    for step in range(150):
        name, writer, reader = chance.choice("abc"), chance.choice(stores), chance.choice(stores)
        match chance.randrange(4):
            case 0:
                model[name] = b"%d" % step
                await writer.put(ANN, name, model[name], UNCONDITIONAL)
            case 1:
                assert await writer.delete(ANN, name, UNCONDITIONAL) is (model.pop(name, None) is not None)
        found = await reader.find(ANN, name)
        assert (None if found is None else found.value) == model.get(name)
        assert await listing(reader, ANN) == model
        assert await reader.find(OTHERS[0], name) is None


# Listings.


async def test_a_long_listing_comes_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece is much larger than PAGE_BYTES; together they are everything, once, in the order of names."""
    monkeypatch.setattr(resource_service.user_data.store, "PAGE_BYTES", 1_000)
    store = ItemStore(database, UNKNOWN, Quota(items=100, bytes=100_000), FrozenClock())
    expected = {f"{name}{number}": b"%d" % number * 100 for name in "aZ_~." for number in range(10, 20)}
    for name, value in expected.items():
        await store.put(ANN, name, value, UNCONDITIONAL)
    first = await store.page(ANN)
    assert len(first.items) == 5
    assert first.next_after == first.items[-1][0]
    assert await listing(store, ANN) == expected


async def test_a_listing_has_the_order_of_code_points(store: ItemStore) -> None:
    """Both databases order names alike, whatever the server's language."""
    for name in ("b", "B", "a", "_", "~"):
        await store.put(ANN, name, b"1", UNCONDITIONAL)
    assert [name for name, _ in (await store.page(ANN)).items] == ["B", "_", "a", "b", "~"]


# What fails.


async def test_a_write_that_failed_leaves_the_item_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile cases, Storage: when storage fails in the middle, nothing half written is ever seen."""
    monkeypatch.setattr("shared.sqlite_engine.BUSY_SECONDS", 0.1)
    database = Database.open(f"sqlite:///{tmp_path}/resource.sqlite3")
    migrate(database.engine, MIGRATIONS)
    store = ItemStore(database, UNKNOWN, QUOTA, FrozenClock())
    before = await store.put(ANN, "a", b"1", UNCONDITIONAL)
    other = sqlite3.connect(tmp_path / "resource.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        await store.put(ANN, "a", b"2", UNCONDITIONAL)
    other.close()
    assert await store.find(ANN, "a") == Item("a", b"1", before.etag)
    assert not (await store.put(ANN, "a", b"2", UNCONDITIONAL)).created
    await database.close()
