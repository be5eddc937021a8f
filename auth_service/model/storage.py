"""The port to what is stored: transactions, and what one transaction sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from auth_service.model.account import AccountRecords
from auth_service.model.password_link import PasswordLinkRecords
from auth_service.model.revocation import RevocationRecords
from auth_service.model.security_event import SecurityEventRecords
from auth_service.model.session import SessionRecords
from auth_service.model.signing_key import SigningKeyRecords
from auth_service.model.status_list import StatusListRecords
from auth_service.model.throttle import BudgetRecords

T = TypeVar("T")


class Records(Protocol):
    """What one transaction sees; synchronous, and of no use after it ended."""

    @property
    def accounts(self) -> AccountRecords: ...

    @property
    def sessions(self) -> SessionRecords: ...

    @property
    def password_links(self) -> PasswordLinkRecords: ...

    @property
    def signing_keys(self) -> SigningKeyRecords: ...

    @property
    def security_events(self) -> SecurityEventRecords: ...

    @property
    def revocations(self) -> RevocationRecords: ...

    @property
    def status_lists(self) -> StatusListRecords: ...

    @property
    def budgets(self) -> BudgetRecords: ...


class Storage(Protocol):
    """Runs work in a transaction, off the event loop: one hop to a thread carries all of it.

    Both raise `shared.transactions.DatabaseUnavailable` when storage failed, and whatever the work raised otherwise.
    """

    async def read(self, work: Callable[[Records], T], *, vital: bool = False) -> T:
        """Run `work` in a transaction that only reads, and return what it returns.

        With `vital` it waits behind no other read: for the few small ones that the whole service hangs on.
        """
        ...

    async def write(self, work: Callable[[Records], T], *, durable: bool = True) -> T:
        """Run `work` in one transaction: durable when this returns, undone when `work` raises.

        With `durable` false nobody waits for the disk: it survives the end of any process, but not the end of the
        machine within the same second. That is for what grants nothing and ends nothing.

        So a refusal that must be remembered (a copied token ends its session) is returned, not raised.
        """
        ...
