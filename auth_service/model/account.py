"""An account, its legal moves, and the port it is kept behind."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

SUBJECT_BYTES = 16
"""128 random bits: no two accounts ever share a subject, also not after one was deleted (ASVS 5.0 11.5.1)."""


class AccountState(StrEnum):
    """Whether the account may sign in and its sessions may go on."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Account:
    """A person or program that signs in.

    `sub` is what tokens carry and what other services know it by. `username` is the name as typed (after PRECIS
    width mapping and NFC), `username_key` what a sign-in looks up, `lookalike_key` what keeps a second account
    from looking the same; see `identity.usernames`. `password_hash` is a PHC string, None for an account that
    has no password. Times are seconds since the epoch.
    """

    sub: str
    username: str
    username_key: str
    lookalike_key: str
    password_hash: str | None = field(repr=False)
    email: str | None
    email_verified: bool
    name: str | None
    state: AccountState
    created_at: float
    password_changed_at: float

    @property
    def is_active(self) -> bool:
        return self.state is AccountState.ACTIVE

    def with_password(self, password_hash: str, *, at: float) -> Account:
        """The account after its password was changed, at an instant that tells the new password from the old one."""
        later = max(at, math.nextafter(self.password_changed_at, math.inf))
        return replace(self, password_hash=password_hash, password_changed_at=later)

    def with_rehashed_password(self, password_hash: str) -> Account:
        """The account with the same password under a newer hash profile; sessions are not touched by that."""
        return replace(self, password_hash=password_hash)

    def disabled(self) -> Account:
        """The account as it stands while it may not sign in."""
        return replace(self, state=AccountState.DISABLED)

    def enabled(self) -> Account:
        """The account as it stands when it may sign in again."""
        return replace(self, state=AccountState.ACTIVE)


def new_subject() -> str:
    """A subject that nobody chose and nobody had before: base64url without padding, 22 characters."""
    return secrets.token_urlsafe(SUBJECT_BYTES)


class AccountRecords(Protocol):
    """The accounts that one transaction sees."""

    def add(self, account: Account) -> bool:
        """Store a new account; False, and nothing stored, when one of its names is taken."""
        ...

    def find(self, sub: str) -> Account | None: ...

    def find_by_username_key(self, username_key: str) -> Account | None: ...

    def hold(self, sub: str) -> Account | None:
        """The account, kept from every other writer until this transaction ends; needs a writing transaction."""
        ...

    def update(self, account: Account) -> None:
        """Store the new value of an account that this transaction holds."""
        ...

    def delete(self, sub: str) -> None:
        """Remove the account and every row that refers to it."""
        ...

    def list(self, *, after_key: str = "", limit: int = 100) -> Sequence[Account]:
        """Accounts in the order of `username_key`, those behind `after_key` first."""
        ...
