"""Follows one issuer's revocation feed in the background, so that requests find what was revoked in memory.

One request to the issuer is held until there is news, and the next one goes out at once. What was learned is only
ever added to and leaves by age: no answer, however old, forged or set back, makes a revoked token good again. What a
bad answer can do is keep us from learning more, and that shows as staleness.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from resource_service.protection.backoff import Backoff
from resource_service.protection.bounded_fetch import BoundedFetch, FetchFailed, FetchLimits
from resource_service.protection.configuration import ProtectedResource, TrustedIssuer
from resource_service.protection.discovery import discover_feed_url
from resource_service.protection.feed_documents import FeedDocuments, FeedFailed, FeedFault
from resource_service.protection.issuer_keys import IssuerKeys, KeyFault, KeyRefused
from resource_service.protection.kept_revocations import KeptRevocations
from resource_service.protection.remote_key_set import RemoteKeySet
from resource_service.protection.revocation import RevocationsUnavailable, RevokedSet
from shared.access_token import VerifiedAccessToken
from shared.clock import Clock
from shared.revocation_feed import (
    MAX_DOCUMENT_BYTES,
    MEDIA_TYPE,
    START,
    Position,
    RevocationDocument,
)

log = structlog.get_logger(__name__)

WAIT_SECONDS: Final = 10
"""How long the issuer is asked to hold a request: how old our knowledge gets while nothing happens."""
BACKOFF: Final = Backoff(first=0.25, most=5.0, jitter=0.5)
"""Spread widely: many readers lose an issuer at the same instant."""
PACE: Final = Backoff(first=0.01, most=1.0, jitter=0.0)
"""Requests that bring nothing and are not held are soon so far apart: an issuer that does not hold them is not to be
flooded, nor a cache that answers every one with the same old document. The first of them follow quickly, for that is
also how a replica looks that has not caught up with another yet."""
REDISCOVER_SECONDS: Final = 3_600.0
REDISCOVER_FAILING_SECONDS: Final = 30.0
MAX_HELD: Final = 2_000_000
"""Entries of one issuer; some 400 MB. Ours issues 1,900 endings a second for that."""


class FeedState(StrEnum):
    """Whether there is a feed to follow."""

    UNKNOWN = "unknown"
    """The issuer has not been asked with success yet."""
    NONE = "none"
    FOLLOWED = "followed"


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """How the following does; `age` is seconds since the issuer last told all it knew."""

    issuer: str
    state: FeedState
    usable: bool
    stale: bool
    age: float | None
    held: int
    sequence: int
    documents: int
    failures_in_row: int
    faults: Mapping[str, int]


class RemoteRevocations:
    """What one trusted issuer has revoked. Runs inside `running()`; everything else is for the loop's thread only."""

    def __init__(
        self,
        trusted: TrustedIssuer,
        resource: ProtectedResource,
        published: RemoteKeySet,
        clock: Clock,
        *,
        limits: FetchLimits | None = None,
    ) -> None:
        self.revoked = RevokedSet()
        self.keys = IssuerKeys(published, self.revoked)
        self._trusted = trusted
        self._documents = FeedDocuments(trusted.issuer, self.keys, clock)
        path = trusted.kept_revocations
        self._kept = None if path is None else KeptRevocations(path, trusted.issuer, clock)
        self._is_restored = self._kept is None
        self._clock = clock
        self._plain_http_hosts = resource.plain_http_hosts
        self._stale_seconds = resource.revocation_stale_seconds
        self._fail_closed = resource.revocation_fail_closed
        limits = limits or FetchLimits()
        self._limits = FetchLimits(limits.connect_seconds, limits.total_seconds + WAIT_SECONDS, MAX_DOCUMENT_BYTES)
        self._url = trusted.revocations_uri
        self._located = -math.inf
        # With a pinned key set the metadata is not asked for either.
        self._state = FeedState.NONE if self._url is None and trusted.jwks_uri is not None else FeedState.UNKNOWN
        self._position: Position = START
        self._confirmed: float | None = None
        # Until the first attempt has come to an end nobody is let through: a restart must not forget.
        self._closes_at = -math.inf if self._state is FeedState.UNKNOWN else math.inf
        self._taken = 0
        self._idle_turns = 0
        self._failures = 0
        self._faults: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the feed from entering to leaving. Entering waits for no network."""
        if self._state is FeedState.NONE:
            self._say_there_is_none()
            yield
            return
        async with AsyncExitStack() as stack:
            if self._kept is not None:
                await stack.enter_async_context(self._kept.running())
            fetch = await stack.enter_async_context(BoundedFetch.open(self._limits))
            task = asyncio.create_task(self._follow_for_ever(fetch), name=f"revocations of {self._trusted.issuer}")
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def is_revoked(self, token: VerifiedAccessToken) -> bool:
        """Whether the token is void; RevocationsUnavailable where the policy is to say neither."""
        if self._closes_at != math.inf and self._clock.monotonic() >= self._closes_at:
            raise RevocationsUnavailable
        return self.revoked.covers(token)

    def require_fresh(self, max_age: float) -> None:
        """Raise RevocationsUnavailable when nothing was heard for longer than `max_age` seconds from an issuer with a
        feed."""
        if self._state is FeedState.NONE:
            return
        if self._confirmed is None or self._clock.monotonic() - self._confirmed > max_age:
            raise RevocationsUnavailable

    def health(self) -> FeedHealth:
        """The figures at this moment."""
        age = None if self._confirmed is None else self._clock.monotonic() - self._confirmed
        has_feed = self._state is not FeedState.NONE
        return FeedHealth(
            issuer=self._trusted.issuer,
            state=self._state,
            usable=self._clock.monotonic() < self._closes_at,
            stale=has_feed and (age is None or age > self._stale_seconds),
            age=age,
            held=len(self.revoked),
            sequence=self._position.seq,
            documents=self._taken,
            failures_in_row=self._failures,
            faults=dict(self._faults),
        )

    async def _follow_for_ever(self, fetch: BoundedFetch) -> None:
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._restore()
                brought = await self._advance(fetch)
            except (FetchFailed, FeedFailed, KeyRefused) as error:
                await self._fail(error.fault.value, error.__cause__)
            except Exception:
                # A mistake of ours must not end the following for good: it is said, and counts as one more failure.
                log.exception("revocation_feed_crashed", issuer=self._trusted.issuer)
                await self._fail(FeedFault.INTERNAL.value, None)
            else:
                self.revoked.drop_expired(self._clock.now())
                if brought is None:
                    await self._clock.sleep(REDISCOVER_SECONDS if self._is_restored else BACKOFF.after(1))
                else:
                    await self._pause(brought, asyncio.get_running_loop().time() - begun)

    async def _advance(self, fetch: BoundedFetch) -> bool | None:
        """Take in the next document: whether it told anything new or there is more; None when there is no feed."""
        url = await self._locate(fetch)
        if url is None:
            # What was kept of a feed that there was once is still believed, when there are keys for it.
            if self._state is not FeedState.NONE and self._is_restored:
                self._state, self._closes_at = FeedState.NONE, math.inf
                self._say_there_is_none()
            return None
        asked = self._position
        answer = await fetch.get(_with_position(url, asked), accept=(MEDIA_TYPE,))
        body = answer.body or b""
        document = await self._documents.news(body)
        leads_nowhere = document.reached.seq == asked.seq and not document.is_last
        if document.after not in (asked.seq, START.seq) or leads_nowhere:
            raise FeedFailed(FeedFault.OUT_OF_PLACE)
        self._require_room(document)
        if document.after != asked.seq:
            # Another history than the one we followed: what we know stays, and all of the new one is taken in.
            log.warning("revocation_feed_set_back", issuer=self._trusted.issuer, asked=asked.seq, head=document.head)
        learned = self.revoked.add(document.groups)
        if learned and self._kept is not None:
            self._kept.keep(body, document)
        self._position = document.reached
        self._taken += 1
        if self._state is not FeedState.FOLLOWED:
            self._state = FeedState.FOLLOWED
            log.info("revocation_feed_found", issuer=self._trusted.issuer, uri=url)
        if document.is_last:
            self._confirm()
        return learned or not document.is_last

    async def _pause(self, brought: bool, seconds: float) -> None:
        """Keep to a pace after a turn that took so many seconds."""
        if brought or seconds >= PACE.most:
            self._idle_turns = 0
            return
        self._idle_turns += 1
        await asyncio.sleep(max(0.0, PACE.after(self._idle_turns) - seconds))

    async def _restore(self) -> None:
        """Take in what was kept, once there are keys to verify it; until then no token can be verified either."""
        if self._kept is None or self._is_restored:
            return
        taken = refused = 0
        self._is_restored = True  # also when this fails: the feed itself must be followed all the same
        async with aclosing(self._kept.load()) as parts:
            async for bodies in parts:
                for body in bodies:
                    try:
                        document = self._documents.authentic(body)
                        self._require_room(document)
                    except (FeedFailed, KeyRefused) as error:
                        refused += 1
                        if error.fault is KeyFault.UNKNOWN and not self.keys.are_usable:
                            self._is_restored = False
                            return
                    else:
                        taken += 1
                        self.revoked.add(document.groups)
        self.revoked.drop_expired(self._clock.now())
        if taken or refused:
            held = len(self.revoked)
            log.info("revocations_restored", issuer=self._trusted.issuer, taken=taken, refused=refused, held=held)

    def _require_room(self, document: RevocationDocument) -> None:
        if len(self.revoked) + document.count > MAX_HELD:
            raise FeedFailed(FeedFault.TOO_MANY)

    def _confirm(self) -> None:
        """The issuer has told all it knew."""
        if self._failures:
            log.info("revocation_feed_recovered", issuer=self._trusted.issuer, failures=self._failures)
        self._failures = 0
        self._confirmed = self._clock.monotonic()
        self._closes_at = self._confirmed + self._stale_seconds if self._fail_closed else math.inf

    async def _locate(self, fetch: BoundedFetch) -> str | None:
        if self._trusted.revocations_uri is not None:
            return self._trusted.revocations_uri
        age = self._clock.monotonic() - self._located
        if self._url is not None and age < (REDISCOVER_FAILING_SECONDS if self._failures else REDISCOVER_SECONDS):
            return self._url
        try:
            url = await discover_feed_url(fetch, self._trusted.issuer, self._plain_http_hosts)
        except FetchFailed:
            if self._url is None:
                raise
            return self._url
        self._located = self._clock.monotonic()
        # A feed that was there once is not given up because metadata has lost its address.
        self._url = url or self._url
        return self._url

    async def _fail(self, fault: str, cause: BaseException | None) -> None:
        self._failures += 1
        self._faults[fault] += 1
        if self._closes_at == -math.inf and self._is_restored and not self._fail_closed:
            self._closes_at = math.inf
        self.revoked.drop_expired(self._clock.now())
        health = self.health()
        log.warning(
            "revocation_feed_failed",
            issuer=self._trusted.issuer,
            fault=fault,
            cause=type(cause).__name__ if cause is not None else None,
            failures=self._failures,
            age=None if health.age is None else round(health.age),
            usable=health.usable,
        )
        await self._clock.sleep(BACKOFF.after(self._failures))

    def _say_there_is_none(self) -> None:
        log.info("issuer_without_revocation_feed", issuer=self._trusted.issuer)


def _with_position(url: str, position: Position) -> str:
    separator = "&" if "?" in url else "?"
    if position == START:
        return f"{url}{separator}after=0"
    return f"{url}{separator}after={position.seq}&mark={position.mark}&wait={WAIT_SECONDS}"
