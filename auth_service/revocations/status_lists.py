"""The status lists: which sessions are over, as signed lists of bits for resource servers that know no feed.

What is invalid is read from the feed's own entries, by every replica for itself, and only while somebody asks. A list
is made anew when it has changed, or its signature has served its time, once for everybody and off the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from auth_service.model.signing_key import SigningKeySource
from auth_service.model.status_list import LIST_LENGTH, list_uri
from auth_service.model.storage import Records, Storage
from auth_service.revocations import VOUCH_SECONDS
from shared import base64url
from shared.clock import Clock
from shared.errors import Unavailable
from shared.joint_work import JointLook, joint_task
from shared.revocation_feed import Position
from shared.status_list import StatusListToken, encode_list_token, list_of_invalid

TTL_SECONDS: Final = 60
"""After which a reader is to ask again (section 13.7)."""
LIFETIME_SECONDS: Final = 300
"""For how long a list may be relied upon: readers live through an outage of so long."""
LOOK_SECONDS: Final = 1.0
"""How old our own knowledge may be when a list is given out."""
BEGUN_SECONDS: Final = 0.05
"""The same where a list is asked for that was not there: nobody makes us look more often."""
RENEW_SECONDS: Final = 15.0
"""After which a list is signed anew though nothing has changed, and all of it read though the feed has not moved."""


class StatusListsUnavailable(Unavailable):
    """This process has not been able to read which sessions are over."""


@dataclass(frozen=True, slots=True)
class SignedList:
    """A list token as it is sent: what it says is invalid, and when that was read by either clock."""

    body: bytes
    etag: str
    invalid: Sequence[int]
    issued_at: int
    made: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """How things stood when they were read; `invalid` holds the indices by list, which `whole` says the age of."""

    head: Position
    lists: int
    invalid: Mapping[int, Sequence[int]]
    read_at: int
    read: float
    whole: float


class StatusLists:
    """This process's view of the lists. Runs on the loop's thread but for reading and making."""

    def __init__(self, storage: Storage, keys: SigningKeySource, issuer: str, clock: Clock) -> None:
        self._storage = storage
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._reading: _Reading | None = None
        self._look = JointLook(self._read, "status lists look")
        self._lists: dict[int, asyncio.Task[SignedList]] = {}
        self.signatures = 0

    async def list_token(self, number: int) -> SignedList | None:
        """The list with this number, None when there is none; StatusListsUnavailable, SigningKeysUnavailable."""
        reading = await self._fresh(LOOK_SECONDS)
        if number >= reading.lists:
            # It may have been begun just now, and its first token be here already.
            reading = await self._fresh(BEGUN_SECONDS)
        if number >= reading.lists:
            return None
        making = self._lists.get(number)
        if making is None or self._is_spent(making, reading.invalid.get(number, ())):
            making = self._lists[number] = joint_task(self._make(number, reading), "status list")
        return await asyncio.shield(making)

    async def uris(self) -> Sequence[str]:
        """The address of every list (section 9.3); StatusListsUnavailable."""
        return [list_uri(self._issuer, number) for number in range((await self._fresh(LOOK_SECONDS)).lists)]

    def max_age(self, signed: SignedList) -> int:
        """For how many seconds a cache may answer for us: as long as a reader that has the list would not ask."""
        return max(0, signed.issued_at + TTL_SECONDS - int(self._clock.now()))

    async def _fresh(self, max_age: float) -> _Reading:
        reading = self._reading
        if reading is not None and self._clock.monotonic() - reading.read <= max_age:
            return reading
        try:
            return await self._look.take()
        except Unavailable:
            if reading is None or self._clock.monotonic() - reading.read > VOUCH_SECONDS:
                raise StatusListsUnavailable("The status lists cannot be read at present.") from None
            return reading

    async def _read(self) -> _Reading:
        read_at, read, former = int(self._clock.now()), self._clock.monotonic(), self._reading

        def work(records: Records) -> tuple[Position, int, Sequence[int] | None]:
            head = records.revocations.head()
            is_known = former is not None and former.head == head and read - former.whole <= RENEW_SECONDS
            return head, records.status_lists.count(), None if is_known else records.status_lists.invalid()

        head, lists, positions = await self._storage.read(work)
        if positions is None and former is not None:
            self._reading = _Reading(head, lists, former.invalid, read_at, read, former.whole)
        else:
            self._reading = _Reading(head, lists, _by_list(positions or ()), read_at, read, read)
        return self._reading

    def _is_spent(self, making: asyncio.Task[SignedList], invalid: Sequence[int]) -> bool:
        """Whether a list must be made anew: that failed, something has changed, or its signature is old."""
        if not making.done():
            return False
        if making.cancelled() or making.exception() is not None:
            return True
        signed = making.result()
        return signed.invalid != invalid or self._clock.monotonic() - signed.made > RENEW_SECONDS

    async def _make(self, number: int, reading: _Reading) -> SignedList:
        invalid, signing_key = reading.invalid.get(number, ()), self._keys.signing_key()

        def work() -> bytes:
            token = StatusListToken(
                uri=list_uri(self._issuer, number),
                issued_at=reading.read_at,
                expires_at=reading.read_at + LIFETIME_SECONDS,
                ttl=TTL_SECONDS,
                statuses=list_of_invalid(LIST_LENGTH, invalid),
            )
            return encode_list_token(token, signing_key)

        body = await asyncio.to_thread(work)
        self.signatures += 1
        etag = base64url.encode(hashlib.sha256(body).digest())
        return SignedList(body, f'"{etag}"', invalid, reading.read_at, reading.read)


def _by_list(positions: Sequence[int]) -> Mapping[int, Sequence[int]]:
    by_list: defaultdict[int, list[int]] = defaultdict(list)
    for position in sorted(positions):
        number, idx = divmod(position, LIST_LENGTH)
        by_list[number].append(idx)
    return {number: tuple(indices) for number, indices in by_list.items()}
