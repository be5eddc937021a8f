"""The throttle: what may fail before it is refused. `docs/throttling.md` says what that means for an attacker.

A sign-in from a device that this account has signed in on before is counted by that device alone. Any other is counted
by account and caller, by account, by caller, and for the whole service; so an attacker can spend what strangers may
fail, and keeps nobody out who is known. A name that nobody has is counted like any other.

Each attempt is charged before a password is hashed and refunded when it was right, so only failures cost. What is
refused here costs nothing, takes no hash, and is told alike whatever the name and the budget.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from prometheus_client import CollectorRegistry, Counter

from auth_service.identity.devices import Devices, KnownDevice
from auth_service.model.account import Account
from auth_service.model.caller import Caller
from auth_service.model.storage import Records
from auth_service.model.throttle import BudgetKind, BudgetSpent, Charge, TakenUnit
from shared.errors import TooManyRequests

IPV6_NETWORKS = ((64, 1), (56, 2), (48, 4))
"""Prefix bits, and how many times the allowance of one address such a network has. One host can take any address of its
/64 (RFC 4291 section 2.5.1), so those count as one; a site is given a /56 or a /48 (RFC 6177), and may be many people.
IPv4 counts whole."""


@dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """How many attempts may fail in an hour; each budget holds as many and gets them back evenly.

    `caller` is for one account from one address, or from one known device, or in one session that changes the
    password. `account` is for one account from all strangers, `address` for one address (`IPV6_NETWORKS` for what lies
    around it), `service` for all strangers. Registrations count whether they fail or not.
    """

    caller: float = 10
    account: float = 30
    address: float = 100
    service: float = 10_000
    registrations_address: float = 20
    registrations_service: float = 1_000


UNLIMITED = ThrottleLimits(*[math.inf] * 6)
"""For an operator on the service's own machine."""


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """What is told of a sign-in before the password is looked at.

    `name` is the key of the name, or the name itself when no account can have it. `presented_devices` is what the
    caller sent as its device tokens; empty for nothing.
    """

    name: str
    caller: Caller
    presented_devices: str
    at: float


@dataclass(frozen=True, slots=True)
class Paid:
    """An attempt that was charged, and what it paid with."""

    units: Sequence[TakenUnit]

    @property
    def emptied(self) -> Sequence[BudgetKind]:
        """The budgets that had nothing left after it."""
        return [unit.charge.kind for unit in self.units if unit.was_last]

    def refund(self, records: Records, *, at: float) -> None:
        """Give it back, once the attempt has turned out to be rightful or was never looked at."""
        records.budgets.refund(self.units, at=at)


FREE = Paid(())
"""Nothing was charged: somebody proved who they are in another way."""


class Throttle:
    """Charges attempts as part of a transaction; raises TooManyRequests, which undoes it, when a budget is spent."""

    def __init__(self, limits: ThrottleLimits, devices: Devices, registry: CollectorRegistry | None = None) -> None:
        self._limits = limits
        self.devices = devices
        self._refused = Counter(
            "signet_throttled",
            "Attempts that were refused, by the budget that was spent.",
            ["budget"],
            registry=registry,
        )
        for kind in BudgetKind:
            self._refused.labels(kind)

    def charge_sign_in(self, records: Records, attempt: SignInAttempt, account: Account | None) -> Paid:
        """Charge a sign-in to `account`, None where nobody has the name."""
        limits, networks = self._limits, networks_of(attempt.caller)
        device = self.devices.recognise(attempt.presented_devices, account, at=attempt.at)
        if device is not None:
            return self._charge(records, [_device_charge(device, attempt.name, limits)], attempt.at)
        return self._charge(
            records,
            [
                Charge.of(BudgetKind.CALLER, limits.caller, attempt.name, networks[0]),
                Charge.of(BudgetKind.ACCOUNT, limits.account, attempt.name),
                *_address_charges(BudgetKind.ADDRESS, limits.address, networks),
                Charge.of(BudgetKind.SERVICE, limits.service),
            ],
            attempt.at,
        )

    def charge_password_change(self, records: Records, sub: str, sid: str, at: float) -> Paid:
        """Charge a guess at the current password: by the session, which nobody opens without that password."""
        charge = Charge.of(BudgetKind.PASSWORD_CHANGE, self._limits.caller, sub, sid)
        return self._charge(records, [charge], at)

    def require_registration(self, records: Records, caller: Caller, at: float) -> None:
        """Refuse a registration where `charge_registration` would; nothing is charged."""
        try:
            records.budgets.require(_that_cost(self._registration_charges(caller)), at=at)
        except BudgetSpent as spent:
            self._refuse(spent)

    def charge_registration(self, records: Records, caller: Caller, at: float) -> Paid:
        """Charge a registration, for good."""
        return self._charge(records, self._registration_charges(caller), at)

    def _registration_charges(self, caller: Caller) -> Sequence[Charge]:
        limits = self._limits
        return [
            *_address_charges(BudgetKind.REGISTRATION_ADDRESS, limits.registrations_address, networks_of(caller)),
            Charge.of(BudgetKind.REGISTRATION_SERVICE, limits.registrations_service),
        ]

    def _charge(self, records: Records, charges: Sequence[Charge], at: float) -> Paid:
        try:
            return Paid(records.budgets.charge(_that_cost(charges), at=at))
        except BudgetSpent as spent:
            self._refuse(spent)

    def _refuse(self, spent: BudgetSpent) -> NoReturn:
        self._refused.labels(spent.kind).inc()
        raise TooManyRequests("Too many attempts; try again later.", retry_after=math.ceil(spent.seconds)) from None


def _that_cost(charges: Sequence[Charge]) -> Sequence[Charge]:
    # Where there is no limit a unit costs nothing, and its budget needs no row.
    return [charge for charge in charges if charge.cost > 0]


def _device_charge(device: KnownDevice, name: str, limits: ThrottleLimits) -> Charge:
    return Charge.of(BudgetKind.DEVICE, limits.caller, name, device.name.hex())


def _address_charges(kind: BudgetKind, per_hour: float, networks: Sequence[str]) -> Iterator[Charge]:
    # The narrowest first, for all alike: see BudgetKind.
    for network, (_, factor) in zip(networks, IPV6_NETWORKS, strict=False):
        yield Charge.of(kind, per_hour * factor, network)


def networks_of(caller: Caller) -> Sequence[str]:
    """What one caller can choose its addresses from, the narrowest first; one empty text where that is not known."""
    try:
        address = ipaddress.ip_address(caller.address)
    except ValueError:
        return [""]
    if isinstance(address, ipaddress.IPv6Address):
        return [str(ipaddress.IPv6Network((int(address), bits), strict=False)) for bits, _ in IPV6_NETWORKS]
    return [str(address)]
