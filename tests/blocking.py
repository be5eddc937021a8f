"""What blocks the event loop is an error while services run in process, one or several, stopped in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster


class _Watch:
    """One watch for all services: two of their own that do not end in the reverse order of their beginning would leave
    the functions patched for every test that follows."""

    def __init__(self) -> None:
        self.services = 0
        self.blockbuster = BlockBuster(["auth_service", "resource_service", "shared"])

    def begin(self) -> BlockBuster:
        if self.services == 0:
            self.blockbuster = BlockBuster(["auth_service", "resource_service", "shared"])
            for name in ("sqlite3.Connection.execute", "sqlite3.Cursor.fetchone"):
                self.blockbuster.functions[name].can_block_in("shared/database_version.py", "read")
            self.blockbuster.activate()
        self.services += 1
        return self.blockbuster

    def end(self) -> None:
        self.services -= 1
        if self.services == 0:
            self.blockbuster.deactivate()


_watch = _Watch()


@contextmanager
def nothing_blocks() -> Iterator[BlockBuster]:
    """Watch until the block ends."""
    blockbuster = _watch.begin()
    try:
        yield blockbuster
    finally:
        _watch.end()
