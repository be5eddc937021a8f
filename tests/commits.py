"""The commits of this process, watched and made to fail; and work that waits for one until more has come."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError


@dataclass
class Commits:
    """How many pieces of work each commit stored, and which of the commits to come fail."""

    of: list[int] = field(default_factory=list)
    failing: set[int] = field(default_factory=set)
    _begun: int = 0

    def on_statement(self, _connection: object, _cursor: object, statement: str, *_others: object) -> None:
        self._begun += statement.startswith("SAVEPOINT")

    def on_commit(self, _connection: Connection) -> None:
        self.of.append(self._begun or 1)
        self._begun = 0
        if len(self.of) in self.failing:
            raise OperationalError(None, None, sqlite3.OperationalError("disk I/O error"))


@contextlib.contextmanager
def watched(*failing: int) -> Iterator[Commits]:
    """The commits of this process from now on; the `failing` ones, counted from 1, fail."""
    commits = Commits(failing=set(failing))
    event.listen(Engine, "before_cursor_execute", commits.on_statement)
    event.listen(Engine, "commit", commits.on_commit)
    try:
        yield commits
    finally:
        event.remove(Engine, "before_cursor_execute", commits.on_statement)
        event.remove(Engine, "commit", commits.on_commit)


class Held:
    """Keeps the thread that writes busy, so that what is asked for meanwhile comes to it together."""

    def __init__(self) -> None:
        self._release = threading.Event()

    def hold(self, _connection: Connection) -> None:
        assert self._release.wait(10)

    def release(self) -> None:
        self._release.set()
