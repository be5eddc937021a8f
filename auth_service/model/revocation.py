"""What is revoked before it expires by itself, and the port it is kept behind.

An entry is kept until no token that it could concern is accepted any more, wherever it is checked. How long that
is follows from the limits below and not from today's settings: tokens of yesterday's settings may still be out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from shared.revocation_feed import Position, Revocation, RevocationGroup, RevokedKind, identifier_hash
from shared.token_rules import MAX_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS

CLOCK_DIFFERENCE_SECONDS: Final = 60
"""The most by which the clocks of any two machines differ."""
MINTING_SECONDS: Final = 60
"""The most that lies between a session's last transaction and the last token made of it (the signing lease is 30 s)."""
ENTRY_SECONDS: Final = MAX_LIFETIME_SECONDS + MAX_LEEWAY_SECONDS + 2 * CLOCK_DIFFERENCE_SECONDS + MINTING_SECONDS
EXPIRY_STEP_SECONDS: Final = 60
"""Entries expire on whole minutes, never too soon: those of a minute are alike and travel as one group."""
KEY_ENTRY_SECONDS: Final = 2 * 86_400
"""A key in wrong hands makes new tokens for as long as anybody believes it: a resource server that cannot reach the key
set does so for a day at most."""


def revoked_token(token_id: str, *, expires_at: float) -> Revocation:
    """One access token, by its `jti` and its `exp`."""
    last = expires_at + MAX_LEEWAY_SECONDS + CLOCK_DIFFERENCE_SECONDS
    return Revocation(RevokedKind.TOKEN, identifier_hash(token_id), None, _step(last))


def revoked_session(sid: str, *, at: float) -> Revocation:
    """Every access token of a session.

    Whatever its `iat`: one that a replica signs while another ends the session may bear a later instant than the end.
    """
    return Revocation(RevokedKind.SESSION, identifier_hash(sid), None, _lasting(at))


def revoked_account(sub: str, *, at: float, for_good: bool) -> Revocation:
    """Every access token of an account issued up to now, or `for_good` whatever will ever bear its subject."""
    return Revocation(RevokedKind.ACCOUNT, identifier_hash(sub), None if for_good else int(at), _lasting(at))


def revoked_key(kid: str, *, at: float) -> Revocation:
    """Everything a key has signed or will."""
    return Revocation(RevokedKind.KEY, identifier_hash(kid), None, _step(at + KEY_ENTRY_SECONDS))


class FeedPart(NamedTuple):
    """Entries that follow each other in the feed: how many, in groups, and the place of the last one."""

    size: int
    groups: Sequence[RevocationGroup]
    reached: Position | None


class RevocationRecords(Protocol):
    """The feed that one transaction sees. Its sequence is the order of commits, whichever process commits."""

    def append(self, revocation: Revocation) -> None:
        """Put an entry into the feed with the rest of this transaction."""
        ...

    def head(self) -> Position:
        """Where the feed ends."""
        ...

    def contains(self, position: Position) -> bool:
        """Whether this is, as far as can still be told, a place in this feed and no other's."""
        ...

    def between(self, after: int, head: int, *, limit: int) -> FeedPart:
        """The first `limit` entries behind sequence number `after` and not behind `head`."""
        ...

    def covers(self, kind: RevokedKind, identifier: str) -> bool:
        """Whether there is an entry for this identifier."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` entries that were to be dropped before `before`; return how many went."""
        ...


def _lasting(at: float) -> int:
    return _step(at + ENTRY_SECONDS)


def _step(instant: float) -> int:
    return math.ceil(instant / EXPIRY_STEP_SECONDS) * EXPIRY_STEP_SECONDS
