"""The feed: where it ends now, and signed documents of any part of it.

Every replica reads the end from the database: at once after a commit of its own, every few hundredths of a second
while anybody waits, and not at all while nobody asks. Documents are kept for a moment by where they begin, so however
many readers wait for the same change, or join at the same time, it is read, written and signed once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import structlog

from auth_service.model.revocation import FeedPart
from auth_service.model.signing_key import SigningKeySource
from auth_service.model.storage import Records, Storage
from auth_service.revocations import VOUCH_SECONDS
from shared.clock import Clock
from shared.errors import Unavailable
from shared.joint_work import JointLook, joint_task
from shared.revocation_feed import (
    MAX_ENTRIES,
    START,
    Position,
    RevocationDocument,
    encode_document,
)

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 0.05
"""How often the end is looked up while somebody waits: what another replica commits is half of that late on average."""
GATHER_SECONDS: Final = 0.01
"""The least pause between two looks: under a flood of endings each document carries many."""
REUSE_SECONDS: Final = 3.0
"""For how long a signed document is given out again; readers refuse one that is a minute old."""
RECENT_ENDS: Final = 64
"""Ends of the feed that are remembered: where readers stand who waited for what was just revoked. Their documents are
made before all others, and never refused."""
MAX_WAITING: Final = 10_000
"""Readers that may wait at a time; the next ones are answered at once."""
MAX_PAGES_READ: Final = 2
"""Pages of the feed read from the database at a time."""
MAX_CATCHING_UP: Final = 32
"""Documents that are kept for those who stand elsewhere, and so many may be in the making; who asks for one more is
told to come back. Readers at one position share a document."""
MAX_GUESSED: Final = 8
"""How many of these may be in the making for a number without a mark: anybody can count."""
MAX_IN_LINE: Final = 64
"""Entries up to which a document is encoded on the event loop; a longer one goes to a thread."""
NOTHING: Final = FeedPart(0, (), None)


class FeedUnavailable(Unavailable):
    """This process has not been able to read the feed, or too many wait for it already."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the feed ended when it was read; on the wall clock in whole seconds, and on the monotonic one."""

    position: Position
    read_at: int
    read_monotonic: float


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document as it is sent, and what it holds: everything behind `after` up to `reached`."""

    body: bytes
    after: int
    reached: Position
    head: Position
    signed_monotonic: float

    @property
    def etag(self) -> str:
        """A weak entity tag: the same entries may be signed anew (RFC 9110 section 8.8.1)."""
        return f'W/"{self.after}-{self.reached.seq}-{self.reached.mark}"'

    def serves(self, head: Position, monotonic: float) -> bool:
        """Whether it may be given out while the feed ends at `head`.

        One that ends before the end it knew is the same whatever came behind it; the last one is not.
        """
        return monotonic - self.signed_monotonic <= REUSE_SECONDS and (self.reached != self.head or self.head == head)


@dataclass(frozen=True, slots=True)
class _Making:
    """A document that is made, or was, and the end that it was begun with."""

    head: Position
    task: asyncio.Task[SignedDocument]

    def serves(self, head: Position, monotonic: float) -> bool:
        """Whether who asks while the feed ends at `head` may wait for it or have it."""
        if not self.task.done():
            return self.head == head
        if self.task.cancelled() or self.task.exception() is not None:
            return False
        return self.task.result().serves(head, monotonic)


class _Pages:
    """Documents that are made or were, by where they begin: so many are kept, and so many read at a time."""

    def __init__(self, most: int, *, at_a_time: int) -> None:
        self.documents: OrderedDict[Position, _Making] = OrderedDict()
        self.reading = asyncio.Semaphore(at_a_time)
        self._most = most

    def find(self, after: Position, head: Position, monotonic: float) -> _Making | None:
        making = self.documents.get(after)
        return making if making is not None and making.serves(head, monotonic) else None

    def make_room(self, after: Position) -> None:
        """Let the oldest that are made go. FeedUnavailable while too many are in the making."""
        in_the_making = [position for position, making in self.documents.items() if not making.task.done()]
        guessed = sum(not position.mark for position in in_the_making)
        if len(in_the_making) >= self._most or (after != START and not after.mark and guessed >= MAX_GUESSED):
            raise FeedUnavailable("Too many readers are catching up with the revocation feed.")
        for position in [position for position in self.documents if position not in in_the_making]:
            if len(self.documents) >= self._most:
                del self.documents[position]


@dataclass(slots=True)
class FeedFigures:
    """What the feed did since the start, and how many wait now."""

    waiting: int = 0
    looks: int = 0
    signatures: int = 0
    served: int = 0


class RevocationFeed:
    """This process's view of the feed. `revoked` is set by storage at each commit that revoked something."""

    def __init__(
        self, storage: Storage, keys: SigningKeySource, issuer: str, clock: Clock, revoked: asyncio.Event
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._revoked = revoked
        self._head: Head | None = None
        self._look = JointLook(self._read_head, "revocation feed look")
        self._moved = asyncio.Event()
        self._wanted = asyncio.Event()
        self._recent_ends: OrderedDict[Position, None] = OrderedDict.fromkeys([START])
        self._expected = _Pages(2 * RECENT_ENDS, at_a_time=1)
        self._others = _Pages(MAX_CATCHING_UP, at_a_time=MAX_PAGES_READ)
        self._lookups: dict[Position, asyncio.Task[bool]] = {}
        self._is_closed = False
        self.figures = FeedFigures()

    async def document(self, after: Position, *, wait_seconds: float = 0.0) -> SignedDocument:
        """The document that goes on from `after`; when there is nothing new, up to `wait_seconds` later.

        A position of another feed, or of this one before it was set back, gives the feed from its beginning. Raises
        FeedUnavailable, and SigningKeysUnavailable.
        """
        head = await self._fresh_head()
        if wait_seconds > 0 and _is_at(after, head.position):
            head = await self._await_move(head, wait_seconds)
        self.figures.served += 1
        return await self._document(after, head)

    async def follow(self) -> None:
        """Look for what is new, for ever, while anybody waits."""
        while True:
            await self._wanted.wait()
            try:
                await self._look.take()
            except Unavailable:
                log.warning("revocation_feed_not_read")
            except Exception:
                log.exception("revocation_feed_not_read")
            await asyncio.sleep(GATHER_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS - GATHER_SECONDS):
                    await self._revoked.wait()

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    @property
    def is_crowded(self) -> bool:
        """Whether no more readers can wait: the next ones are answered at once."""
        return self.figures.waiting >= MAX_WAITING

    @property
    def sequence(self) -> int:
        """The feed's last sequence number as it was last read; 0 before that."""
        return 0 if self._head is None else self._head.position.seq

    async def release_waiting(self, _app: object) -> None:
        """A shutdown signal of the app: requests that wait are answered, so that a stop need not wait for them."""
        self.close()

    def close(self) -> None:
        """Let nobody wait any more: everybody who does is answered now."""
        self._is_closed = True
        self._moved.set()

    async def _fresh_head(self) -> Head:
        """The end as it was read at most POLL_SECONDS ago, or as long ago as can be vouched for."""
        # Twice: a look that was under way when this process committed may have come too early to see it.
        for _ in range(2):
            if self._is_seen():
                break
            with contextlib.suppress(Unavailable):
                await self._look.take()
        head = self._head
        if head is None or self._age(head) > VOUCH_SECONDS:
            raise FeedUnavailable("The revocation feed cannot be read at present.")
        return head

    async def _await_move(self, head: Head, wait_seconds: float) -> Head:
        if self.is_crowded:
            # Answered at once instead of held: who fills the places must not keep the others from hearing anything.
            return head
        self.figures.waiting += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._is_closed and self._head is not None and self._head.position == head.position:
                    await self._moved.wait()
        except TimeoutError:
            pass  # nothing new: the answer says so, and how it stands now
        finally:
            self.figures.waiting -= 1
            if not self.figures.waiting:
                self._wanted.clear()
        return await self._fresh_head()

    def _is_seen(self) -> bool:
        """Whether what was read holds all that this process committed, and is no older than a look each poll."""
        if self._head is None or self._look.is_under_way or self._revoked.is_set():
            return False
        return self._age(self._head) <= POLL_SECONDS

    def _age(self, head: Head) -> float:
        return self._clock.monotonic() - head.read_monotonic

    async def _read_head(self) -> None:
        self._revoked.clear()
        read_at, read_monotonic = int(self._clock.now()), self._clock.monotonic()
        position = await self._storage.read(lambda records: records.revocations.head(), vital=True)
        former = self._head
        self._head = Head(position, read_at, read_monotonic)
        self.figures.looks += 1
        if former is not None and former.position != position:
            self._remember_end(former.position)
            if not self._is_closed:
                self._moved.set()
                self._moved = asyncio.Event()

    def _remember_end(self, position: Position) -> None:
        self._recent_ends[position] = None
        while len(self._recent_ends) > RECENT_ENDS:
            oldest = next(end for end in self._recent_ends if end != START)
            del self._recent_ends[oldest]

    async def _document(self, after: Position, head: Head) -> SignedDocument:
        if after in self._recent_ends or _is_at(after, head.position):
            return await self._page(self._expected, after, head)
        # Where somebody stands is theirs to say: pages for readers that lag, or pretend to, must not keep the end from
        # being read for everybody else, and what was made up is answered with one and the same page.
        is_kept = self._others.find(after, head.position, self._clock.monotonic()) is not None
        if is_kept or await self._is_known(after, head):
            return await self._page(self._others, after, head)
        return await self._page(self._expected, START, head)

    async def _is_known(self, after: Position, head: Head) -> bool:
        """Whether the feed has been at this position; callers that come together share one reading."""
        lookup = self._lookups.get(after)
        if lookup is None:
            lookup = joint_task(
                self._storage.read(lambda records: _is_known(records, after, head.position)), "revocation position"
            )
            self._lookups[after] = lookup
            lookup.add_done_callback(lambda _task: self._lookups.pop(after))
        return await asyncio.shield(lookup)

    async def _page(self, pages: _Pages, after: Position, head: Head) -> SignedDocument:
        kept = pages.find(after, head.position, self._clock.monotonic())
        if kept is None:
            pages.make_room(after)
            task = joint_task(self._make(pages, after, head), "revocation document")
            kept = pages.documents[after] = _Making(head.position, task)
        return await asyncio.shield(kept.task)

    async def _make(self, pages: _Pages, after: Position, head: Head) -> SignedDocument:
        if _is_at(after, head.position):
            begun, part = after.seq, NOTHING
        else:
            async with pages.reading:
                begun, part = await self._storage.read(lambda records: _read_part(records, after, head.position))
        reached = part.reached if part.reached is not None and part.size == MAX_ENTRIES else head.position
        document = RevocationDocument(
            issuer=self._issuer,
            issued_at=head.read_at,
            after=begun,
            reached=reached,
            head=head.position.seq,
            groups=part.groups,
        )
        signing_key = self._keys.signing_key()
        if part.size <= MAX_IN_LINE:
            body = encode_document(document, signing_key)
        else:
            body = await asyncio.to_thread(encode_document, document, signing_key)
        self.figures.signatures += 1
        return SignedDocument(body, begun, reached, head.position, self._clock.monotonic())


def _is_known(records: Records, after: Position, head: Position) -> bool:
    return after.seq <= head.seq and (not after.mark or records.revocations.contains(after))


def _read_part(records: Records, after: Position, head: Position) -> tuple[int, FeedPart]:
    begun = after.seq if _is_known(records, after, head) else START.seq
    return begun, records.revocations.between(begun, head.seq, limit=MAX_ENTRIES)


def _is_at(after: Position, head: Position) -> bool:
    """Whether there is nothing behind `after`; a position without a mark is taken at its number.

    The beginning is nowhere: who has no position is told one, even where there is nothing else to tell.
    """
    return after != START and after.seq == head.seq and after.mark in ("", head.mark)


@contextlib.asynccontextmanager
async def following(feed: RevocationFeed) -> AsyncIterator[None]:
    """Follow the database in the background until the block ends."""
    task = asyncio.create_task(feed.follow(), name="revocation feed")
    try:
        yield
    finally:
        feed.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
