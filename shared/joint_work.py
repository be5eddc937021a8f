"""Work that many callers wait for and one task does: looking at the database, signing a document or a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def joint_task(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """A task for callers to wait for, shielded: one that goes away does not take the result from the others."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_hear)
    return task


def _hear(task: asyncio.Task[Any]) -> None:
    """Those who waited have the failure; when all of them left, nobody needs to hear of it."""
    if not task.cancelled():
        task.exception()


class JointLook(Generic[T]):
    """A reading of the database; callers that come together share one."""

    def __init__(self, read: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self._read = read
        self._name = name
        self._under_way: asyncio.Task[T] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._under_way is not None

    async def take(self) -> T:
        """What is read, by the look that is under way or a new one; what reading raises."""
        if self._under_way is None:
            self._under_way = joint_task(self._read(), self._name)
            self._under_way.add_done_callback(self._end)
        return await asyncio.shield(self._under_way)

    def _end(self, _look: asyncio.Task[T]) -> None:
        self._under_way = None
