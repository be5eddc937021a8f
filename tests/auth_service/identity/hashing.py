"""Hashes for tests that are not about the profile: Argon2 at its cheapest, and one that takes as long as one wants."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Literal, Self

import pytest

from auth_service.identity.passwords import OWASP_ARGON2ID, PasswordHasher

CHEAP = replace(OWASP_ARGON2ID, time_cost=1, memory_cost=8)
OLDER = replace(CHEAP, memory_cost=16)
"""Another profile, as a former release may have had."""


class HeldUp:
    """A password that begins to be hashed, or verified, and is not done before `go_on`; those after it are."""

    def __init__(self) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    @classmethod
    def next(cls, monkeypatch: pytest.MonkeyPatch, method: Literal["hash", "verify"]) -> Self:
        """The next one, of whatever hasher."""
        held_up, at_once = cls(), getattr(PasswordHasher, method)

        async def later(*arguments: Any) -> Any:
            if not held_up.reached.is_set():
                held_up.reached.set()
                await held_up.go_on.wait()
            return await at_once(*arguments)

        monkeypatch.setattr(PasswordHasher, method, later)
        return held_up
