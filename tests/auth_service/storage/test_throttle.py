"""Budgets in the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import insert, select

from auth_service.model.storage import Records
from auth_service.model.throttle import HOUR_SECONDS, BudgetKind, BudgetSpent, Charge, TakenUnit
from auth_service.storage.storage import SqlStorage
from auth_service.storage.tables import throttle_budgets
from shared.database import Database
from tests.auth_service.stored import NOW

TEN = Charge.of(BudgetKind.CALLER, 10, "alice", "192.0.2.7")
THREE = Charge.of(BudgetKind.ACCOUNT, 3, "alice")


async def charge(storage: SqlStorage, *charges: Charge, at: float = NOW) -> Sequence[TakenUnit]:
    return await storage.write(lambda records: records.budgets.charge(charges, at=at))


async def refund(storage: SqlStorage, units: Sequence[TakenUnit], at: float = NOW) -> None:
    await storage.write(lambda records: records.budgets.refund(units, at=at))


async def wait_of(storage: SqlStorage, *charges: Charge, at: float = NOW) -> float:
    """How long a charge that is refused would have to wait."""
    with pytest.raises(BudgetSpent) as refused:
        await charge(storage, *charges, at=at)
    return refused.value.seconds


async def stored(database: Database) -> dict[bytes, float]:
    rows = await database.read(lambda connection: connection.execute(select(throttle_budgets)).all())
    return {bytes(row.budget_key): row.full_at for row in rows}


@pytest.mark.parametrize("per_hour", [1, 7, 10, 2_500])
async def test_a_budget_holds_its_units_and_not_one_more(storage: SqlStorage, per_hour: int) -> None:
    """All of an hour's units at once, the last one says so, and the next one waits for what one unit takes."""
    unit = Charge.of(BudgetKind.SERVICE, per_hour)

    def take_all(records: Records) -> list[TakenUnit]:
        return [taken for _ in range(per_hour) for taken in records.budgets.charge([unit], at=NOW)]

    taken = await storage.write(take_all)
    assert [unit.was_last for unit in taken] == [False] * (per_hour - 1) + [True]
    assert await wait_of(storage, unit) == pytest.approx(HOUR_SECONDS / per_hour, abs=0.02)


async def test_one_unit_comes_back_at_a_time(storage: SqlStorage) -> None:
    """After the wait that was told there is one unit, and no second one; an hour later the budget is whole."""
    for _ in range(3):
        await charge(storage, THREE)
    wait = await wait_of(storage, THREE)
    assert wait == pytest.approx(1_200)
    assert await wait_of(storage, THREE, at=NOW + wait - 1) == pytest.approx(1)
    assert [unit.was_last for unit in await charge(storage, THREE, at=NOW + wait)] == [True]
    assert await wait_of(storage, THREE, at=NOW + wait) == pytest.approx(1_200)
    for _ in range(3):
        await charge(storage, THREE, at=NOW + wait + HOUR_SECONDS)


async def test_what_is_refused_costs_nothing(storage: SqlStorage, database: Database) -> None:
    """A spent budget keeps the other ones untouched, wherever it stands among them."""
    for _ in range(3):
        await charge(storage, THREE)
    before = await stored(database)
    for charges in ([TEN, THREE], [THREE, TEN]):
        with pytest.raises(BudgetSpent):
            await charge(storage, *charges)
    assert await stored(database) == before


async def test_a_look_says_what_a_charge_would_and_takes_nothing(storage: SqlStorage, database: Database) -> None:
    """In a transaction that only reads; of nothing, nothing is required."""

    async def look(*charges: Charge, at: float = NOW) -> None:
        await storage.read(lambda records: records.budgets.require(charges, at=at))

    await look()
    for _ in range(3):
        await look(TEN, THREE)
        await charge(storage, THREE)
    before = await stored(database)
    await look(TEN)
    with pytest.raises(BudgetSpent) as refused:
        await look(TEN, THREE)
    assert refused.value.seconds == await wait_of(storage, TEN, THREE)
    await look(TEN, THREE, at=NOW + refused.value.seconds)
    assert await stored(database) == before


@pytest.mark.parametrize("lasted", [0.1, 0.3, 0.5, 2.0])
async def test_a_refund_is_too_much_by_no_more_than_the_attempt_lasted(
    storage: SqlStorage, database: Database, lasted: float
) -> None:
    """Nor by more than a unit: one before it was refunded meanwhile, and one after it failed, which alone counts."""
    unit = Charge.of(BudgetKind.SERVICE, 10_000)
    first, second = await charge(storage, unit), await charge(storage, unit)
    await refund(storage, first, at=NOW + lasted / 9)
    await charge(storage, unit, at=NOW + 0.9 * lasted)
    await refund(storage, second, at=NOW + lasted)
    [full_at] = (await stored(database)).values()
    too_much = NOW + 0.9 * lasted + unit.cost - full_at
    assert too_much <= min(lasted, unit.cost) + 1e-3


async def test_the_longest_wait_counts(storage: SqlStorage) -> None:
    """Of several spent budgets the one that takes longest: before that the attempt would only be refused again."""
    for _ in range(3):
        await charge(storage, THREE, TEN)
    for _ in range(7):
        await charge(storage, TEN)
    for charges in ([TEN, THREE], [THREE, TEN]):
        assert await wait_of(storage, *charges) == pytest.approx(1_200)


async def test_a_refund_gives_the_unit_back(storage: SqlStorage) -> None:
    """As if the attempt had not been; and no budget grows beyond its size by it."""
    for _ in range(4):
        await refund(storage, await charge(storage, THREE, TEN))
    for _ in range(2):
        await charge(storage, THREE)
    taken = await charge(storage, THREE)
    await wait_of(storage, THREE)
    await refund(storage, taken)
    taken = await charge(storage, THREE)
    await wait_of(storage, THREE)
    # What was taken in vain has come back by itself in the meantime; the budget is whole and not more than that.
    await refund(storage, taken, at=NOW + 2 * HOUR_SECONDS)
    for _ in range(3):
        await charge(storage, THREE, at=NOW + 2 * HOUR_SECONDS)
    await wait_of(storage, THREE, at=NOW + 2 * HOUR_SECONDS)


async def test_a_refund_does_not_give_back_twice(storage: SqlStorage) -> None:
    """While a rightful attempt went on, the unit it held was coming back: only the rest is given back."""
    rightful = await charge(storage, THREE)
    for _ in range(2):
        await charge(storage, THREE, at=NOW + 20)
    await refund(storage, rightful, at=NOW + 30)
    await charge(storage, THREE, at=NOW + 30)
    assert await wait_of(storage, THREE, at=NOW + 30) == pytest.approx(1_200)


async def test_no_charge_is_no_statement(storage: SqlStorage, database: Database) -> None:
    """Who pays nothing leaves nothing."""
    assert await charge(storage) == []
    await refund(storage, [])
    assert await stored(database) == {}


async def test_a_clock_that_was_set_back_gives_nothing_away(storage: SqlStorage) -> None:
    """What was spent stays spent, and the wait is longer by what the clock was set back."""
    for _ in range(3):
        await charge(storage, THREE)
    assert await wait_of(storage, THREE, at=NOW - 600) == pytest.approx(1_800)


async def test_a_row_from_a_wrong_clock_locks_nobody_out(storage: SqlStorage, database: Database) -> None:
    """A machine that believed in another year has left a budget that is whole in that year: it counts for nothing."""
    rows = [{"budget_key": THREE.key, "full_at": NOW + 365 * 86_400}]
    await database.write(lambda connection: connection.execute(insert(throttle_budgets), rows))
    for _ in range(3):
        await charge(storage, THREE)
    await wait_of(storage, THREE)


async def test_only_what_is_whole_is_swept_in_small_steps(storage: SqlStorage, database: Database) -> None:
    """A row that says nothing goes, be it old or from a wrong clock; one that still counts stays, and counts."""
    rows = [{"budget_key": bytes([number]), "full_at": NOW - 1 - number} for number in range(5)]
    rows += [{"budget_key": b"wrong clock", "full_at": NOW + 365 * 86_400}]
    rows += [{"budget_key": b"not whole yet", "full_at": NOW + 1}]
    await database.write(lambda connection: connection.execute(insert(throttle_budgets), rows))
    for _ in range(3):
        await charge(storage, THREE)
    swept = [await storage.write(lambda records: records.budgets.sweep(before=NOW, limit=4)) for _ in range(3)]
    assert swept == [4, 2, 0]
    assert (await stored(database)).keys() == {THREE.key, b"not whole yet"}
    await wait_of(storage, THREE)


async def test_processes_share_one_budget(storage: SqlStorage, second_database: Database) -> None:
    """Forty attempts at once over two processes' connections, on a budget that had no row: ten are taken."""
    both = [storage, SqlStorage(second_database)]
    attempts = [charge(both[number % 2], TEN) for number in range(40)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, BudgetSpent) for result in results) == 30
    assert sum(isinstance(result, list) for result in results) == 10


async def test_attempts_at_once_never_wait_for_each_other_for_ever(
    storage: SqlStorage, second_database: Database
) -> None:
    """Charges and refunds of overlapping budgets, many at once: each ends, and the budgets are whole afterwards."""
    both = [storage, SqlStorage(second_database)]
    service = Charge.of(BudgetKind.SERVICE, 1_000)

    async def attempt(number: int) -> None:
        name, address = f"user-{number % 3}", f"192.0.2.{number % 5}"
        charges = [
            Charge.of(BudgetKind.CALLER, 100, name, address),
            Charge.of(BudgetKind.ACCOUNT, 100, name),
            Charge.of(BudgetKind.ADDRESS, 100, address),
            Charge.of(BudgetKind.ADDRESS, 200, f"site-{number % 2}"),
            Charge.of(BudgetKind.ADDRESS, 400, "network"),
            service,
        ]
        await refund(both[(number + 1) % 2], await charge(both[number % 2], *charges))

    await asyncio.gather(*(attempt(number) for number in range(60)))

    def take_all(records: Records) -> None:
        for _ in range(1_000):
            records.budgets.charge([service], at=NOW)

    await storage.write(take_all)


def test_no_two_owners_share_a_budget() -> None:
    """Parts that only look the same when put together are other budgets; so are kinds."""
    whose = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ('a", "bc',), ("\ud800",), ("\\ud800",), ("",), ()]
    keys = {Charge.of(kind, 10, *parts).key for kind in BudgetKind for parts in whose}
    assert len(keys) == len(whose) * len(BudgetKind)
    assert {len(key) for key in keys} == {32}
