"""A lane: threads, and the work that waits for them.

What arrives while a thread is busy is taken to it together, because most of what a small piece of work costs is the hop
to the thread and what stands around it there; under load that is shared. Alone, work waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

W = TypeVar("W")

MAX_WAITING: Final = 512
"""Pieces of work that may wait for a lane. Beyond it the next is refused: a queue would only grow."""
MAX_WAITING_SECONDS: Final = 5.0
"""How long a piece of work may wait for a thread. Whoever asked has little use for a later answer; less would refuse a
burst for one row on a slow machine."""


class Overloaded(Exception):
    """Too much waits for the lane, or this piece of work has waited for too long. It was not begun."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of a piece of work that raised."""

    error: BaseException


class Lane(Generic[W]):
    """Takes work to `threads` threads, up to `together` pieces at a time, in the order in which it arrived.

    `carry` runs on a thread, all else on the loop's. It returns the outcome of each piece that it was given, a result
    or a `Failure`; where it returns fewer (at least one), the last pieces were not begun and stay first in the queue.
    """

    def __init__(
        self, name: str, carry: Callable[[Sequence[W]], Sequence[Any]], *, threads: int = 1, together: int = 1
    ) -> None:
        self._carry = carry
        self._together = together
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._idle = threads
        self._queue: deque[_Waiting[W]] = deque()
        self._under_way: set[asyncio.Future[Sequence[Any]]] = set()
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self, work: W) -> Any:
        """What came of `work`: its result, or what it raised, or Overloaded."""
        if len(self._queue) >= MAX_WAITING:
            raise Overloaded
        loop = asyncio.get_running_loop()
        waiting = _Waiting(work, loop.create_future(), loop.time() + MAX_WAITING_SECONDS)
        self._queue.append(waiting)
        self._go_on()
        return await waiting.answer

    async def close(self) -> None:
        """Answer everybody, then end the threads."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._alarm is not None:
            self._alarm.cancel()
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and (taken := self._take()):
            self._idle -= 1
            under_way = loop.run_in_executor(self._threads, self._carry, [waiting.work for waiting in taken])
            self._under_way.add(under_way)
            under_way.add_done_callback(partial(self._deliver, taken))
        if self._queue and self._alarm is None:
            self._alarm = loop.call_at(self._queue[0].until, self._refuse_overdue)

    def _take(self) -> list[_Waiting[W]]:
        taken: list[_Waiting[W]] = []
        while self._queue and len(taken) < self._together:
            waiting = self._queue.popleft()
            if not waiting.answer.done():  # otherwise whoever asked has gone
                taken.append(waiting)
        return taken

    def _deliver(self, taken: list[_Waiting[W]], under_way: asyncio.Future[Sequence[Any]]) -> None:
        self._under_way.discard(under_way)
        self._idle += 1
        error = under_way.exception()
        outcomes = [Failure(error)] * len(taken) if error is not None else under_way.result()
        self._queue.extendleft(reversed(taken[len(outcomes) :]))
        self._go_on()
        for waiting, outcome in zip(taken, outcomes, strict=False):
            if waiting.answer.done():
                continue
            if isinstance(outcome, Failure):
                waiting.answer.set_exception(outcome.error)
            else:
                waiting.answer.set_result(outcome)

    def _refuse_overdue(self) -> None:
        # Those on a thread are not in the queue: what may have been done is never refused.
        self._alarm = None
        loop = asyncio.get_running_loop()
        while self._queue and self._queue[0].until <= loop.time():
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                waiting.answer.set_exception(Overloaded())
        if self._queue:
            self._alarm = loop.call_at(self._queue[0].until, self._refuse_overdue)


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[W]):
    """A piece of work, where its outcome is awaited, and until when (the loop's time) it may wait for a thread."""

    work: W
    answer: asyncio.Future[Any]
    until: float
