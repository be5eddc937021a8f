"""A password link: what an operator hands to an account's owner, who chooses a new password with it, once.

The token in it is random, and the server keeps its hash. A link is made for the password in force at that time (or for
having none), so a change of password makes it void by itself, its own use included. What else ends it is written into
its row, which stays for a while: a link that comes too late is told apart from nonsense in the audit trail.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from auth_service.model.account import Account

TOKEN_BYTES = 32
"""256 bits: not to be guessed, however many links there are (ASVS 5.0 11.5.1 asks for 128)."""
TOKEN_PREFIX = "signet_link_"
TOKEN_FORM = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
MIN_LIFETIME_SECONDS = 300
MAX_LIFETIME_SECONDS = 7 * 86_400
"""A week: whoever finds an old message shall find nothing in it."""


@dataclass(frozen=True, slots=True)
class LinkToken:
    """A link's token in clear; it stays out of its repr, and so out of logs."""

    clear_text: str = field(repr=False)

    @classmethod
    def new(cls) -> LinkToken:
        """The token of a new link, 55 characters."""
        return cls(TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES))

    @classmethod
    def parse(cls, presented: str) -> LinkToken | None:
        """Read what a browser sent; None when it cannot be a token of ours."""
        return cls(presented) if TOKEN_FORM.fullmatch(presented) else None

    @property
    def hash(self) -> bytes:
        """What a link is looked up by. Random input needs no slow hash."""
        return hashlib.sha256(self.clear_text.encode("ascii")).digest()


class LinkEnd(StrEnum):
    """Why a link does not work any more; for the audit trail, who presents it learns only that it does not.

    The first three are stored with the link, the others follow from the clock and the account.
    """

    USED = "used"
    SUPERSEDED = "superseded"
    ACCOUNT_DISABLED = "account_disabled"
    EXPIRED = "expired"
    PASSWORD_CHANGED = "password_changed"


@dataclass(frozen=True, slots=True)
class PasswordLink:
    """A link for the account `sub` as it was when its password had last been changed at `password_changed_at`."""

    token_hash: bytes = field(repr=False)
    sub: str
    password_changed_at: float
    made_at: float
    expires_at: float
    ended_at: float | None = None
    end_reason: LinkEnd | None = None

    def end(self, account: Account, *, at: float) -> LinkEnd | None:
        """Why it does not work for `account`, whose it is; None when it does."""
        if self.end_reason is not None:
            return self.end_reason
        if at >= self.expires_at:
            return LinkEnd.EXPIRED
        if not account.is_active:
            return LinkEnd.ACCOUNT_DISABLED
        if account.password_changed_at != self.password_changed_at:
            return LinkEnd.PASSWORD_CHANGED
        return None


class PasswordLinkRecords(Protocol):
    """The links that one transaction sees. Who moves one holds its account."""

    def add(self, link: PasswordLink) -> None: ...

    def find(self, token_hash: bytes) -> PasswordLink | None: ...

    def use(self, token_hash: bytes, *, at: float) -> bool:
        """End it as used, in one statement; False when it had ended or expired before."""
        ...

    def end_all(self, sub: str, reason: LinkEnd, *, at: float) -> None:
        """End the account's links that have not ended."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` links that expired before `before`; return how many went."""
        ...
