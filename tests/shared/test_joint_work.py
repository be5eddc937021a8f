"""Work that many wait for and one task does."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest

from shared.joint_work import JointLook, joint_task


class BrokenLook(Exception):
    """A look that failed."""


class Reading:
    """A reading that takes until it is let go, and counts how often it was begun."""

    def __init__(self, *, fails: bool = False) -> None:
        self.begun = 0
        self.let_go = asyncio.Event()
        self._fails = fails

    async def __call__(self) -> int:
        self.begun += 1
        await self.let_go.wait()
        if self._fails:
            raise BrokenLook
        return self.begun


async def test_callers_that_come_together_share_a_look() -> None:
    """And the next one looks again; one that goes away does not take it from the others."""
    reading = Reading()
    look = JointLook(reading, "a look")
    callers = [asyncio.create_task(look.take()) for _ in range(3)]
    await asyncio.sleep(0)
    callers.pop().cancel()
    reading.let_go.set()
    assert await asyncio.gather(*callers) == [1, 1]
    assert not look.is_under_way
    assert await look.take() == 2


async def test_a_failure_is_for_those_who_wait() -> None:
    """Each of them has it, and the next look is a new one."""
    reading = Reading(fails=True)
    look = JointLook(reading, "a look")
    reading.let_go.set()
    for outcome in await asyncio.gather(look.take(), look.take(), return_exceptions=True):
        assert isinstance(outcome, BrokenLook)
    with pytest.raises(BrokenLook):
        await look.take()
    assert reading.begun == 2


async def test_a_failure_that_nobody_waits_for_is_not_reported() -> None:
    """The loop would say that an exception was never retrieved."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    reading = Reading(fails=True)
    caller = asyncio.create_task(JointLook(reading, "a look").take())
    task = joint_task(reading(), "a task")
    await asyncio.sleep(0)
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    reading.let_go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    del task, caller
    gc.collect()
    assert reported == []
