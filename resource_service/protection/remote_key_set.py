"""One issuer's key set, fetched over HTTP and kept fresh (RFC 7517, RFC 9111).

The set in force is an immutable snapshot that requests read without waiting. A background task refreshes it ahead
of expiry; a key that is not in it may make us ask again, as far as the gate lets callers. A set that is worse than
the one in force never replaces it; one that is good replaces it whole, so a removed key is gone.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from resource_service.protection.attempt_gate import AttemptGate
from resource_service.protection.backoff import Backoff, spread
from resource_service.protection.bounded_fetch import (
    JSON_TYPE,
    BoundedFetch,
    Document,
    FetchFailed,
    FetchFault,
    FetchLimits,
)
from resource_service.protection.configuration import TrustedIssuer
from resource_service.protection.discovery import discover_key_url
from resource_service.protection.key_set import KeySet, Snapshot, UnusableKeySet, read_key_set, report_skipped
from resource_service.protection.last_good_file import LastGood, LastGoodFile
from shared.clock import Clock
from shared.errors import Unavailable
from shared.jwk import PublicJwk, SkipReason

log = structlog.get_logger(__name__)

KEY_SET_TYPES: Final = ("application/jwk-set+json", JSON_TYPE)
REFRESH_AT: Final = 0.8
"""The share of its freshness after which a set is fetched again."""
JITTER: Final = 0.1
"""How far a wait is spread, as a share of it, so that many instances do not ask in step."""
BACKOFF: Final = Backoff(first=1.0, most=60.0, jitter=JITTER)
WAIT_SECONDS: Final = 3.0
"""How long a request waits for a fetch that may bring its key."""
MAX_WAITERS: Final = 256
"""Requests that may wait at a time; the next ones are told to come back."""
REDISCOVER_SECONDS: Final = 3_600.0


class KeysUnavailable(Unavailable):
    """The issuer's keys cannot be had, so nothing can be said about the token (and 401 would end a good session)."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("The keys to check the access token are not available.", retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class KeySetHealth:
    """How a key set does. Ages and times left are seconds; `usable` is whether tokens can be checked at all."""

    issuer: str
    usable: bool
    stale: bool
    age: float | None
    generation: int
    kids: tuple[str, ...]
    skipped: Mapping[SkipReason, int]
    last_fault: FetchFault | None
    failures_in_row: int
    attempts: int
    faults: Mapping[FetchFault, int]
    gate_open: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class _Flight:
    """A fetch under way. `forced` means it was made for an unknown key, past every cache."""

    task: asyncio.Task[bool]
    forced: bool


class RemoteKeySet:
    """The keys of one trusted issuer. Runs inside `running()`; everything else is for the loop's thread only."""

    def __init__(
        self,
        trusted: TrustedIssuer,
        clock: Clock,
        *,
        plain_http_hosts: tuple[str, ...] = (),
        limits: FetchLimits | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._trusted = trusted
        self._rules = trusted.jwk_rules()
        self._clock = clock
        self._plain_http_hosts = plain_http_hosts
        self._limits = limits or FetchLimits()
        self._wait_seconds = wait_seconds
        self._file = LastGoodFile(trusted.last_good_file, trusted.issuer) if trusted.last_good_file else None
        self._gate = AttemptGate(clock)
        self._fetch: BoundedFetch | None = None
        self._flight: _Flight | None = None
        self._waiting = 0
        self._due = clock.monotonic()
        self._key_url = trusted.jwks_uri
        self._located = -math.inf
        self._body = b""
        self._sequence = 0
        self._accepted = 0
        self._failures = 0
        self._last_fault: FetchFault | None = None
        self._faults: Counter[FetchFault] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the set fresh from entering to leaving. Entering waits for no network."""
        await self._restore()
        async with BoundedFetch.open(self._limits) as fetch:
            self._fetch = fetch
            task = asyncio.create_task(self._refresh_for_ever(), name=f"key set of {self._trusted.issuer}")
            try:
                yield
            finally:
                self._fetch = None
                for each in (task, *((self._flight.task,) if self._flight else ())):
                    each.cancel()
                    with suppress(asyncio.CancelledError):
                        await each

    def find(self, kid: str) -> PublicJwk | None:
        """The key with this id in the set in force; None when it is not there or there is no usable set."""
        snapshot = self.snapshot
        if snapshot is None or self._clock.monotonic() >= snapshot.hard_until:
            return None
        return snapshot.keys.by_kid.get(kid)

    @property
    def knows_all(self) -> bool:
        """Whether asking the issuer would bring nothing now: the set is usable, and no fetch may be waited for."""
        return self._flight is None and self._is_usable() and not self._gate.is_open

    async def await_key(self, kid: str) -> PublicJwk | None:
        """The key after asking the issuer again, where callers may still make us; None when it has no such key.

        Raises KeysUnavailable when the issuer could not be asked, or the answer takes too long.
        """
        if self._waiting >= MAX_WAITERS:
            raise KeysUnavailable(1)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._await_key(kid)
        except TimeoutError:
            raise KeysUnavailable(self._retry_after()) from None
        finally:
            self._waiting -= 1

    async def find_or_fetch(self, kid: str) -> PublicJwk | None:
        """The key, fetched when it is not there; for what this service does by itself, as often as it sees fit."""
        if (key := self.find(kid)) is not None or self._fetch is None:
            return key
        flight = self._flight or self._take_off(forced=True)
        await asyncio.shield(flight.task)
        return self.find(kid)

    async def _await_key(self, kid: str) -> PublicJwk | None:
        fetched = True
        # A flight that began before we came may bring a set older than the key: one of our own may follow it.
        for _ in range(2):
            flight = self._flight or self._take_off_if_allowed()
            if flight is None:
                break
            # Shielded: a caller that goes away does not take the fetch from the others.
            fetched = await asyncio.shield(flight.task)
            key = self.find(kid)
            if key is not None:
                return key
            if flight.forced or not fetched:
                break
        if not fetched or not self._is_usable():
            raise KeysUnavailable(self._retry_after())
        return None

    def health(self) -> KeySetHealth:
        """The figures at this moment."""
        snapshot, now = self.snapshot, self._clock.monotonic()
        return KeySetHealth(
            issuer=self._trusted.issuer,
            usable=self._is_usable(),
            stale=snapshot is not None and now >= snapshot.fresh_until,
            age=None if snapshot is None else now - snapshot.fetched,
            generation=0 if snapshot is None else snapshot.generation,
            kids=() if snapshot is None else tuple(snapshot.keys.by_kid),
            skipped={} if snapshot is None else snapshot.keys.skipped,
            last_fault=self._last_fault,
            failures_in_row=self._failures,
            attempts=self._sequence,
            faults=dict(self._faults),
            gate_open=self._gate.is_open,
            waiting=self._waiting,
        )

    def _is_usable(self) -> bool:
        return self.snapshot is not None and self._clock.monotonic() < self.snapshot.hard_until

    def _retry_after(self) -> int:
        wait = math.ceil(self._due - self._clock.monotonic())
        return min(max(wait, 1), int(BACKOFF.most)) if self._failures else 1

    async def _refresh_for_ever(self) -> None:
        while True:
            # A refresh that a caller caused moves the due time on while this sleeps.
            while (wait := self._due - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            flight = self._flight or self._take_off(forced=False)
            if not await asyncio.shield(flight.task):
                self._due = self._clock.monotonic() + BACKOFF.after(self._failures)

    def _take_off_if_allowed(self) -> _Flight | None:
        return self._take_off(forced=True) if self._fetch is not None and self._gate.try_pass() else None

    def _take_off(self, *, forced: bool) -> _Flight:
        task = asyncio.create_task(self._attempt(forced=forced), name=f"key fetch from {self._trusted.issuer}")
        flight = self._flight = _Flight(task, forced)
        task.add_done_callback(lambda _: self._land(flight))
        return flight

    def _land(self, flight: _Flight) -> None:
        if self._flight is flight:
            self._flight = None

    async def _attempt(self, *, forced: bool) -> bool:
        """Fetch once; whether the set in force is now as the issuer publishes it."""
        self._sequence += 1
        sequence = self._sequence
        try:
            keys_changed = self._accept(sequence, await self._fetch_key_set(forced=forced))
        except FetchFailed as error:
            self._note_failure(error.fault, error.__cause__)
            return False
        except UnusableKeySet as error:
            self._note_failure(FetchFault.NOT_A_KEY_SET, error)
            return False
        except Exception:
            # A mistake of ours must not end refreshing for good: it is said, and counts as one more failure.
            log.exception("key_set_fetch_crashed", issuer=self._trusted.issuer)
            self._note_failure(FetchFault.INTERNAL, None)
            return False
        if self._failures:
            log.info("key_set_recovered", issuer=self._trusted.issuer, failures=self._failures)
        self._failures, self._last_fault = 0, None
        snapshot = self.snapshot
        if keys_changed and snapshot is not None:
            kids = sorted(snapshot.keys.by_kid)
            log.info("key_set_changed", issuer=self._trusted.issuer, generation=snapshot.generation, kids=kids)
            report_skipped(self._trusted.issuer, snapshot.keys.skipped)
        if self._file is not None:
            await self._file.save(LastGood(self._body, self._clock.now()))
        return True

    async def _fetch_key_set(self, *, forced: bool) -> Document:
        if self._fetch is None:
            raise FetchFailed(FetchFault.CONNECTION)
        url = await self._locate(self._fetch)
        etag = self.snapshot.etag if self.snapshot is not None else None
        return await self._fetch.get(url, accept=KEY_SET_TYPES, etag=etag, no_cache=forced)

    async def _locate(self, fetch: BoundedFetch) -> str:
        if self._trusted.jwks_uri is not None:
            return self._trusted.jwks_uri
        now = self._clock.monotonic()
        if self._key_url is not None and not self._failures and now - self._located < REDISCOVER_SECONDS:
            return self._key_url
        try:
            url = await discover_key_url(fetch, self._trusted.issuer, self._plain_http_hosts)
        except FetchFailed as error:
            if self._key_url is None:
                raise
            log.warning("issuer_metadata_not_usable", issuer=self._trusted.issuer, fault=error.fault.value)
            return self._key_url
        if url != self._key_url and self.snapshot is not None:
            self.snapshot = replace(self.snapshot, etag=None)  # the tag was another document's
        self._key_url, self._located = url, now
        return url

    def _accept(self, sequence: int, document: Document) -> bool:
        """Put what was fetched in force; whether the keys are others than before."""
        if sequence <= self._accepted:
            return False  # a newer answer has overtaken this one
        snapshot, now = self.snapshot, self._clock.monotonic()
        if document.body is None:
            if snapshot is None:
                raise FetchFailed(FetchFault.STATUS)
            keys, etag = snapshot.keys, document.etag or snapshot.etag
        else:
            keys, etag = read_key_set(document.body, self._rules), document.etag
            self._body = document.body
        keys_changed = snapshot is None or not keys.same_keys(snapshot.keys)
        self._accepted = sequence
        self.snapshot = Snapshot(
            keys=keys if keys_changed or snapshot is None else _keep_keys(snapshot.keys, keys),
            generation=(0 if snapshot is None else snapshot.generation) + keys_changed,
            fetched=now,
            fresh_until=now + document.fresh_seconds,
            hard_until=now + max(document.fresh_seconds, self._trusted.stale_seconds),
            etag=etag,
        )
        self._due = now + spread(document.fresh_seconds * REFRESH_AT, 1 - JITTER, 1 + JITTER)
        return keys_changed

    def _note_failure(self, fault: FetchFault, cause: BaseException | None) -> None:
        self._failures += 1
        self._faults[fault] += 1
        self._last_fault = fault
        log.warning(
            "key_set_fetch_failed",
            issuer=self._trusted.issuer,
            fault=fault.value,
            cause=type(cause).__name__ if cause is not None else None,
            failures=self._failures,
            usable=self._is_usable(),
        )

    async def _restore(self) -> None:
        if self._file is None or self.snapshot is not None:
            return
        last_good = await self._file.load()
        age = math.inf if last_good is None else self._clock.now() - last_good.confirmed_at
        if last_good is None or not 0 <= age < self._trusted.stale_seconds:
            return
        try:
            keys = read_key_set(last_good.body, self._rules)
        except UnusableKeySet:
            log.warning("last_good_file_not_used", issuer=self._trusted.issuer, cause="UnusableKeySet")
            return
        now = self._clock.monotonic()
        hard_until = now - age + self._trusted.stale_seconds
        self._body = last_good.body
        self.snapshot = Snapshot(keys, 1, fetched=now - age, fresh_until=now, hard_until=hard_until)
        log.info("key_set_restored", issuer=self._trusted.issuer, age=round(age), kids=sorted(keys.by_kid))


def _keep_keys(old: KeySet, new: KeySet) -> KeySet:
    """The same keys in the objects that are already there, with what is now skipped."""
    return KeySet(old.by_kid, new.skipped)
