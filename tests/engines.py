"""What a test does when a program it needs (Docker, PostgreSQL, ...) is not on this machine."""

from __future__ import annotations

import os

import pytest


def in_ci() -> bool:
    """Whether this is the run that leaves nothing out."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def require_engine(name: str, found: bool) -> None:
    """Skip the test when its engine is missing, and say which; in CI a missing engine is a failure."""
    if found:
        return
    reason = f"{name} is not available on this machine"
    if in_ci():
        pytest.fail(f"{reason}, and CI runs every part", pytrace=False)
    pytest.skip(reason)
