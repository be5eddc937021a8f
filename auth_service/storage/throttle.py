"""Budgets in SQL: one row for each that is not whole, `full_at` the instant when it will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from sqlalchemy import Connection, TextClause, bindparam, or_, select, text, update

from auth_service.model.throttle import HOUR_SECONDS, BudgetSpent, Charge, TakenUnit
from auth_service.storage.bounded_delete import delete_some
from auth_service.storage.tables import throttle_budgets

ROUNDING_SECONDS = 0.01
"""What sums of instants may lose: a thousand additions in double precision, and less than any unit costs."""

_columns = throttle_budgets.c
_read = select(throttle_budgets).where(_columns.budget_key.in_(bindparam("keys", expanding=True)))
_refund = (
    update(throttle_budgets)
    .where(_columns.budget_key == bindparam("wanted"))
    .values(full_at=_columns.full_at - bindparam("seconds"))
)


class SqlBudgets:
    """The budgets that one transaction sees (`model.throttle.BudgetRecords`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def require(self, charges: Sequence[Charge], *, at: float) -> None:
        if not charges:
            return
        keys = [charge.key for charge in charges]
        stored = {bytes(row.budget_key): row.full_at for row in self._connection.execute(_read, {"keys": keys})}
        counted = {key: full_at for key, full_at in stored.items() if at < full_at < _horizon(at)}
        _require(charges, {charge.key: counted.get(charge.key, at) + charge.cost for charge in charges}, at)

    def charge(self, charges: Sequence[Charge], *, at: float) -> Sequence[TakenUnit]:
        if not charges:
            return []
        # Looked at first, so that a flood of attempts that are refused writes nothing and waits for no lock.
        self.require(charges, at=at)
        # What counts is what stands in the rows once they are ours: another transaction may have been faster.
        values: dict[str, object] = {"at": at, "horizon": _horizon(at)}
        for number, charge in enumerate(charges):
            values |= {f"key{number}": charge.key, f"full_at{number}": at + charge.cost}
        rows = self._connection.execute(_charge(len(charges)), values)
        full_at = {bytes(row.budget_key): row.full_at for row in rows}
        _require(charges, full_at, at)
        return [_taken(charge, full_at[charge.key], at) for charge in charges]

    def refund(self, units: Sequence[TakenUnit], *, at: float) -> None:
        # One after the other in their order, for that is also the order in which `charge` takes the locks.
        refunds = [{"wanted": unit.charge.key, "seconds": unit.refund_at(at)} for unit in units]
        refunds = [refund for refund in refunds if refund["seconds"]]
        if refunds:
            self._connection.execute(_refund, refunds)

    def sweep(self, *, before: float, limit: int) -> int:
        useless = or_(_columns.full_at < before, _columns.full_at > _horizon(before))
        return delete_some(self._connection, throttle_budgets, _columns.budget_key, useless, limit)


def _horizon(at: float) -> float:
    # No budget is so far from whole: such a row was written while the clock was wrong, and counts for nothing.
    return at + 2 * HOUR_SECONDS


def _missing(full_at: float, at: float) -> float:
    """How many seconds too early it is for a unit with which the budget would be whole at `full_at`; 0 for none."""
    seconds = full_at - (at + HOUR_SECONDS)
    return seconds if seconds > ROUNDING_SECONDS else 0.0


def _taken(charge: Charge, full_at: float, at: float) -> TakenUnit:
    return TakenUnit(charge, full_at, was_last=_missing(full_at + charge.cost, at) > 0)


def _require(charges: Sequence[Charge], full_at: Mapping[bytes, float], at: float) -> None:
    # The longest wait of all: a shorter one would only lead to the next refusal.
    missing, kind = max((_missing(full_at[charge.key], at), charge.kind) for charge in charges)
    if missing:
        raise BudgetSpent(kind, missing)


@lru_cache(maxsize=8)
def _charge(budgets: int) -> TextClause:
    # As text: SQLAlchemy compiles an INSERT of several rows anew each time, which costs five times the statement.
    rows = ", ".join(f"(:key{number}, :full_at{number})" for number in range(budgets))
    return text(
        f"INSERT INTO throttle_budgets (budget_key, full_at) VALUES {rows}"  # noqa: S608 - only parameters' names
        " ON CONFLICT (budget_key) DO UPDATE SET full_at = CASE"
        " WHEN throttle_budgets.full_at > :at AND throttle_budgets.full_at < :horizon"
        " THEN throttle_budgets.full_at + (excluded.full_at - :at)"
        " ELSE excluded.full_at END RETURNING budget_key, full_at"
    )
