"""Budgets: how many attempts may fail, by whom and at what, and the port they are kept behind.

A budget of N an hour holds N units and gets one back every 3600 / N seconds. What is stored of it is one instant: when
it will be whole again. To take a unit moves that instant on by what a unit costs, and the budget is spent when it would
lie more than an hour ahead (the generic cell rate algorithm, ITU-T I.371). So one that is whole needs no row at all,
and no row can be wrong for longer than an hour.

An attempt is charged before anything is known about it, so that attempts in parallel cannot get more than there is; one
that turns out to be rightful is refunded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

HOUR_SECONDS = 3_600.0
"""How long an empty budget takes to be whole again."""


class BudgetKind(StrEnum):
    """What a budget is counted by, in the order in which budgets are charged.

    That order is one for all, so that two transactions never wait for each other, and the budget that everybody
    shares comes last, so that it is held for the shortest time. An address is counted together with the networks that
    it lies in, from the narrowest to the widest.
    """

    DEVICE = "device"
    CALLER = "caller"
    ACCOUNT = "account"
    PASSWORD_CHANGE = "password_change"
    ADDRESS = "address"
    SERVICE = "service"
    REGISTRATION_ADDRESS = "registration_address"
    REGISTRATION_SERVICE = "registration_service"


@dataclass(frozen=True, slots=True)
class Charge:
    """One unit of one budget; `cost` is the seconds the budget takes to get it back.

    `key` is a hash, so that what is kept of a name that somebody tried, or of an address, has one length and says
    nothing to who reads the table.
    """

    kind: BudgetKind
    key: bytes = field(repr=False)
    cost: float

    @classmethod
    def of(cls, kind: BudgetKind, per_hour: float, *whose: str) -> Charge:
        """A unit of the budget of `per_hour` that belongs to `whose`, parts that only together name it."""
        # As JSON no two lists of parts are one text, and a lone surrogate has a spelling, too.
        return cls(kind, hashlib.sha256(json.dumps([kind, *whose]).encode("ascii")).digest(), HOUR_SECONDS / per_hour)


@dataclass(frozen=True, slots=True)
class TakenUnit:
    """One unit that was taken: the instant at which its budget was to be whole again, and whether it was the last."""

    charge: Charge
    full_at: float
    was_last: bool

    def refund_at(self, at: float) -> float:
        """The seconds that are given back at `at`: what of the unit has not come back by itself since it was taken.

        To give that back a second time would be to hold more than the budget's size. But one instant does not say whose
        the time is that has passed. Where a later unit was taken in between, this may be too little, and where an
        earlier one was given back in between as well, too much: by at most the time since this one was taken, and too
        much by at most what it costs.
        """
        return max(0.0, min(self.charge.cost, self.full_at - at))


class BudgetSpent(Exception):
    """A budget has no unit left; after `seconds` it has one again. Whoever raised it undoes its transaction."""

    def __init__(self, kind: BudgetKind, seconds: float) -> None:
        super().__init__(kind)
        self.kind = kind
        self.seconds = seconds


class BudgetRecords(Protocol):
    """The budgets that one transaction sees."""

    def require(self, charges: Sequence[Charge], *, at: float) -> None:
        """Raise BudgetSpent where `charge` would; nothing is taken, and a transaction that reads is enough."""
        ...

    def charge(self, charges: Sequence[Charge], *, at: float) -> Sequence[TakenUnit]:
        """Take a unit of each budget.

        Raises BudgetSpent where one is spent. That must leave the transaction, which undoes the units taken of the
        others: an attempt that was not looked at costs nobody anything.
        """
        ...

    def refund(self, units: Sequence[TakenUnit], *, at: float) -> None:
        """Give back at `at` what `charge` took (`TakenUnit.refund_at`)."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` budgets that were whole before `before`; return how many went."""
        ...
