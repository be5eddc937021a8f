"""One issuer's Token Status Lists (draft-ietf-oauth-status-list-17), fetched when a token first names one and then kept
fresh in the background, so that requests find a token's status in memory.

For issuers that have no revocation feed of ours. A list that is good replaces the one before it; nothing else does. It
vouches for tokens until its own `exp` and no longer; what it refused stays refused as long as it is held.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from resource_service.protection.attempt_gate import AttemptGate
from resource_service.protection.backoff import Backoff, spread
from resource_service.protection.bounded_fetch import BoundedFetch, FetchFailed, FetchLimits
from resource_service.protection.configuration import ProtectedResource, TrustedIssuer
from resource_service.protection.issuer_keys import IssuerKeys, KeyRefused
from resource_service.protection.revocation import RevocationsUnavailable, StatusListUnknown
from shared.access_token import VerifiedAccessToken
from shared.bearer import InvalidToken, TokenFault
from shared.clock import Clock
from shared.status_list import (
    MAX_TOKEN_BYTES,
    MEDIA_TYPE,
    VALID,
    InvalidStatus,
    StatusList,
    StatusListToken,
    UnverifiedListToken,
    read_list_token,
)

log = structlog.get_logger(__name__)

MAX_LISTS: Final = 256
MAX_HELD_BYTES: Final = 67_108_864
"""Of one issuer. Of more, those that were not asked for longest are put out; their tokens wait for them again."""
UNUSED_SECONDS: Final = 1_800.0
"""A list that no token asked for in this time is dropped, or in twice the longest life of a token where that is more:
what it refuses has expired by then, and needs no list to be refused."""
DEFAULT_TTL_SECONDS: Final = 300.0
MIN_TTL_SECONDS: Final = 5.0
MAX_TTL_SECONDS: Final = 900.0
"""How soon a list is asked for again: as its `ttl` says, within these bounds (section 11.5)."""
REFRESH_AT: Final = 0.8
"""The least share of the ttl after which that happens; the most is all of it."""
MAX_DIFFERENCE_SECONDS: Final = 60
"""How far ahead of our clock a list's `iat` may be."""
UNSAID_LIFETIME_SECONDS: Final = 86_400
"""How long after its `iat` a list without `exp` is relied upon."""
BACKOFF: Final = Backoff(first=1.0, most=60.0, jitter=0.5)
WAIT_SECONDS: Final = 3.0
"""How long a request waits for a list that was never seen."""
MAX_WAITERS: Final = 256
FIRST_SIGHTS: Final = 64
FIRST_SIGHT_SECONDS: Final = 1.0
"""So many lists may be begun at once, then one in so many seconds: tokens name them, and tokens come from callers."""


class ListFault(StrEnum):
    """What was wrong with a list that was fetched."""

    INVALID = "invalid_list"
    NOT_CURRENT = "not_current"
    OLDER = "older"
    INTERNAL = "internal"


class ListFailed(Exception):
    """A list that is not used."""

    def __init__(self, fault: ListFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class StatusListHealth:
    """How the lists of one issuer do. `followed` is whether they are looked at; `age` is seconds since the one that
    was confirmed longest ago was; `stale` is how many should have been confirmed since."""

    followed: bool
    usable: bool
    lists: int
    stale: int
    age: float | None
    fetches: int
    taken_in: int
    waiting: int
    faults: Mapping[str, int]


@dataclass(slots=True)
class _HeldList:
    """One list: what it says, since and until when, and whether the first attempt to have it is over. All instants but
    `issued_at` and `expires_at` are monotonic."""

    uri: str
    asked: float
    due: float
    settled: asyncio.Event
    statuses: StatusList | None = None
    issued_at: float = -math.inf
    expires_at: float = -math.inf
    vouches_until: float = -math.inf
    confirmed: float | None = None
    failures: int = 0
    keeping: asyncio.Task[None] | None = None


def _size(held: _HeldList) -> int:
    return 0 if held.statuses is None else len(held.statuses.packed)


class RemoteStatusLists:
    """The lists of one trusted issuer. Runs inside `running()`; everything is for the loop's thread only."""

    def __init__(
        self,
        trusted: TrustedIssuer,
        resource: ProtectedResource,
        keys: IssuerKeys,
        clock: Clock,
        *,
        limits: FetchLimits | None = None,
    ) -> None:
        self._trusted = trusted
        self._prefix = trusted.status_lists(resource.plain_http_hosts)
        self._keys = keys
        self._clock = clock
        self._unused_seconds = max(UNUSED_SECONDS, 2.0 * trusted.max_lifetime)
        self._stale_seconds = resource.revocation_stale_seconds
        self._fail_closed = resource.revocation_fail_closed
        limits = limits or FetchLimits()
        self._limits = FetchLimits(limits.connect_seconds, limits.total_seconds, MAX_TOKEN_BYTES)
        self._fetch: BoundedFetch | None = None
        self._gate = AttemptGate(clock, burst=FIRST_SIGHTS, refill_seconds=FIRST_SIGHT_SECONDS)
        self._lists: dict[str, _HeldList] = {}
        self._waiting = 0
        self._fetches = 0
        self._taken_in = 0
        self._faults: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch and refresh from entering to leaving. Nothing is fetched before a token asks."""
        if self._prefix is None:
            yield
            return
        async with BoundedFetch.open(self._limits) as fetch:
            self._fetch = fetch
            try:
                yield
            finally:
                self._fetch = None
                kept = list(self._lists.values())
                for held in kept:
                    self._put_out(held)
                for held in kept:
                    if held.keeping is not None:
                        with suppress(asyncio.CancelledError):
                            await held.keeping

    def is_refused(self, token: VerifiedAccessToken) -> bool:
        """Whether the token's list says that it is not valid.

        InvalidToken when the token points to where no list may be or to no place in its list. StatusListUnknown when
        its list was not fetched yet and may be; RevocationsUnavailable where the policy is to say neither.
        """
        reference = token.status
        if reference is None or self._prefix is None:
            return False
        held = self._lists.get(reference.uri)
        if held is None:
            if not self._prefix.covers(reference.uri):
                raise InvalidToken(TokenFault.STATUS)
            if self._fetch is None:
                return self._undecided()
            if self._gate.is_open:
                raise StatusListUnknown(token.issuer, reference.uri)
            # Never looked at, or put out for others: in no mode is that a reason to accept. It may be asked for soon.
            raise RevocationsUnavailable
        if not held.settled.is_set():
            raise StatusListUnknown(token.issuer, reference.uri)
        held.asked = self._clock.monotonic()
        if held.statuses is None:
            return self._undecided()
        status = held.statuses.status_of(reference.idx)
        if status is None:
            raise InvalidToken(TokenFault.STATUS)
        if status != VALID:
            return True
        return False if self._vouches(held) else self._undecided()

    def require_fresh(self, token: VerifiedAccessToken, max_age: float) -> None:
        """Raise RevocationsUnavailable when the token's list was confirmed longer than `max_age` seconds ago."""
        if token.status is None or self._prefix is None:
            return
        held = self._lists.get(token.status.uri)
        if held is None or held.confirmed is None or self._clock.monotonic() - held.confirmed > max_age:
            raise RevocationsUnavailable

    async def await_list(self, uri: str) -> None:
        """Wait for the first attempt to fetch a list, begin it where callers still may. Then what is to be said is
        known; RevocationsUnavailable when too many wait."""
        held = self._lists.get(uri)
        if held is None:
            held = self._begin(uri)
        if held is None or held.settled.is_set():
            return
        if self._waiting >= MAX_WAITERS:
            raise RevocationsUnavailable
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await held.settled.wait()
        except TimeoutError:
            # Nobody who comes later waits again: until the attempt is over it is as if it had failed.
            held.settled.set()
        finally:
            self._waiting -= 1

    def health(self) -> StatusListHealth:
        """The figures at this moment."""
        now = self._clock.monotonic()
        settled = [held for held in self._lists.values() if held.settled.is_set()]
        ages = [now - held.confirmed for held in settled if held.confirmed is not None]
        return StatusListHealth(
            followed=self._prefix is not None,
            # One list that is gone must not take the whole service out of service.
            usable=not self._fail_closed or not settled or any(map(self._vouches, settled)),
            lists=len(self._lists),
            stale=sum(self._is_stale(held) for held in settled),
            age=max(ages) if ages else None,
            fetches=self._fetches,
            taken_in=self._taken_in,
            waiting=self._waiting,
            faults=dict(self._faults),
        )

    def _undecided(self) -> bool:
        """Nothing can be said about a token: what then, is the policy's to say."""
        if self._fail_closed:
            raise RevocationsUnavailable
        return False

    def _vouches(self, held: _HeldList) -> bool:
        """Whether the list may be relied upon. By both clocks, so that one that is set back prolongs nothing."""
        if self._clock.now() >= held.expires_at or self._clock.monotonic() >= held.vouches_until:
            return False
        return not (self._fail_closed and self._is_stale(held))

    def _is_stale(self, held: _HeldList) -> bool:
        return held.confirmed is None or self._clock.monotonic() > held.due + self._stale_seconds

    def _begin(self, uri: str) -> _HeldList | None:
        if self._fetch is None or not self._gate.try_pass():
            return None
        now = self._clock.monotonic()
        held = self._lists[uri] = _HeldList(uri, asked=now, due=now, settled=asyncio.Event())
        held.keeping = asyncio.create_task(self._keep(held, self._fetch), name=f"status list {uri}")
        self._make_room(held)
        return held

    def _make_room(self, wanted: _HeldList) -> None:
        """Put out the lists that were not asked for longest, until the others have room; never `wanted`."""
        others = sorted((each for each in self._lists.values() if each is not wanted), key=lambda each: each.asked)
        count, size = len(self._lists), sum(map(_size, self._lists.values()))
        for held in others:
            if count <= MAX_LISTS and size <= MAX_HELD_BYTES:
                return
            count, size = count - 1, size - _size(held)
            self._put_out(held)

    def _put_out(self, held: _HeldList) -> None:
        self._lists.pop(held.uri, None)
        held.settled.set()
        if held.keeping is not None:
            held.keeping.cancel()

    async def _keep(self, held: _HeldList, fetch: BoundedFetch) -> None:
        """Fetch the list, and again when it is due, until nobody asks for it any more: its only fetcher."""
        while True:
            wait = await self._attempt(held, fetch)
            held.settled.set()
            await self._clock.sleep(wait)
            if self._clock.monotonic() - held.asked > self._unused_seconds:
                self._lists.pop(held.uri, None)
                return

    async def _attempt(self, held: _HeldList, fetch: BoundedFetch) -> float:
        """Fetch once; seconds until the next time."""
        self._fetches += 1
        try:
            token = await self._fetched(held.uri, fetch)
            self._accept(held, token)
        except (FetchFailed, ListFailed, KeyRefused) as error:
            return self._fail(held, error.fault.value, error.__cause__)
        except Exception:
            # A mistake of ours must not end refreshing for good: it is said, and counts as one more failure.
            log.exception("status_list_fetch_crashed", issuer=self._trusted.issuer)
            return self._fail(held, ListFault.INTERNAL.value, None)
        return held.due - self._clock.monotonic()

    async def _fetched(self, uri: str, fetch: BoundedFetch) -> StatusListToken:
        document = await fetch.get(uri, accept=(MEDIA_TYPE,))
        try:
            # Off the loop: a large list takes milliseconds to read and tens to inflate.
            unverified: UnverifiedListToken = await asyncio.to_thread(read_list_token, document.body or b"")
            key = await self._keys.find_or_fetch(unverified.kid)
            return await asyncio.to_thread(unverified.verify, key, uri, issuer=self._trusted.issuer)
        except InvalidStatus as error:
            raise ListFailed(ListFault.INVALID) from error

    def _accept(self, held: _HeldList, token: StatusListToken) -> None:
        """Put what was fetched in force."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        expires_at = token.issued_at + UNSAID_LIFETIME_SECONDS if token.expires_at is None else token.expires_at
        if now >= expires_at or token.issued_at > now + MAX_DIFFERENCE_SECONDS:
            raise ListFailed(ListFault.NOT_CURRENT)
        if token.issued_at < held.issued_at:
            raise ListFailed(ListFault.OLDER)
        if held.failures:
            log.info("status_list_recovered", issuer=self._trusted.issuer, uri=held.uri, failures=held.failures)
        ttl = min(max(token.ttl or DEFAULT_TTL_SECONDS, MIN_TTL_SECONDS), MAX_TTL_SECONDS, expires_at - now)
        # From `iat` on, not from now: what a cache kept for a ttl must not be kept for another one here.
        spent = min(max(now - token.issued_at, 0.0), ttl)
        held.statuses, held.issued_at, held.expires_at = token.statuses, token.issued_at, expires_at
        held.vouches_until = monotonic + expires_at - now
        held.confirmed, held.failures = monotonic, 0
        self._taken_in += 1
        self._make_room(held)
        held.due = monotonic + max(spread(ttl - spent, REFRESH_AT, 1), MIN_TTL_SECONDS)

    def _fail(self, held: _HeldList, fault: str, cause: BaseException | None) -> float:
        held.failures += 1
        self._faults[fault] += 1
        log.warning(
            "status_list_failed",
            issuer=self._trusted.issuer,
            uri=held.uri,
            fault=fault,
            cause=type(cause).__name__ if cause is not None else None,
            failures=held.failures,
            usable=self._vouches(held),
        )
        return BACKOFF.after(held.failures)
