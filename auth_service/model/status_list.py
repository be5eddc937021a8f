"""Where sessions stand in status lists (draft-ietf-oauth-status-list), and the port that is kept behind.

All lists have the same length, and a session has one position in the row of all of them: `position // LIST_LENGTH` is
its list. Positions are drawn at random from all lists there are, so they tell nothing of the order of sign-ins, and a
list has far more of them than are taken; one that nobody has looks like one whose session goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from shared.status_list import StatusReference

LIST_LENGTH: Final = 2**20
"""Positions of a list: 128 KiB before compression. What is stored depends on it: it can never be changed."""
MAX_DRAWS: Final = 32
"""Positions that are tried before one more list is begun: lists are about three quarters full then."""
LISTS_PATH: Final = "/statuslists"


def list_uri(issuer: str, number: int) -> str:
    """The address of one list, which is also its name."""
    return f"{issuer}{LISTS_PATH}/{number}"


def status_reference(issuer: str, position: int) -> StatusReference:
    """What a token of the session at `position` says."""
    number, idx = divmod(position, LIST_LENGTH)
    return StatusReference(idx, list_uri(issuer, number))


class StatusListRecords(Protocol):
    """The positions that one transaction sees."""

    def assign(self, sid: str, *, expires_at: float) -> int:
        """A free position at random, for a session that lasts until `expires_at` at most."""
        ...

    def count(self) -> int:
        """How many lists there are: no session has a position beyond them."""
        ...

    def invalid(self) -> Sequence[int]:
        """The position of each session that the revocation feed has an entry for."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Free up to `limit` positions of sessions that lasted until `before` at most; return how many."""
        ...
