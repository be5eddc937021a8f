"""Fixtures of every test."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.alone import turn
from tests.engines import in_ci
from tests.postgresql import postgresql, postgresql_url

__all__ = ["postgresql", "postgresql_url"]

# A property that says nothing else is looked at with so many examples: here with others each time, in CI with more and
# always the same ones, so that a run there fails for what was changed and for nothing else.
settings.register_profile("developer", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if in_ci() else "developer")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Every test waits for its turn, with all its fixtures."""
    with turn(item):
        return (yield)


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that configures logging in this process, a command's for instance, leaves nothing of it to the next.

    A logger that is cached on first use keeps the processors of that moment for good, and no later test could see
    what it logs: so nothing is cached here.
    """
    configure = structlog.configure

    def configure_uncached(**settings: Any) -> None:
        configure(**{**settings, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_uncached)
    root = logging.root
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = handlers, level
