"""What was read from the database and has not changed since, so that the next reader costs no transaction.

Everything is kept under the version that the database had before it was read. Any commit, by this process or another,
gives the database another version, so what is kept is never older than what a read would have found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from shared.database_version import Version

T = TypeVar("T")

MAX_BYTES: Final = 2_097_152
"""What all that is kept may take together, estimated."""
MAX_READ_BYTES: Final = 16_384
"""What is larger is not kept: it is read rarely, and costs more to send than to read."""
ENTRY_BYTES: Final = 700
"""What keeping takes beside the value: the key, the owner in it, the places in the dictionary."""


class KeptReads(Generic[T]):
    """Reads by key, least recently asked for first out. Nothing is kept where the database has no version."""

    def __init__(self, version: Version, max_bytes: int = MAX_BYTES) -> None:
        self._version = version
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[int, T, int]] = OrderedDict()

    def version(self) -> int | None:
        """The version to keep a read under: take it before reading."""
        return self._version.read()

    def find(self, key: Hashable, version: int | None) -> T | None:
        """What was read under `key`, if that is what a read would find now."""
        kept = self._kept.get(key)
        if kept is None or version is None or kept[0] != version:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def keep(self, key: Hashable, version: int | None, value: T, size: int) -> None:
        """Keep `value`, of about `size` bytes, read after `version` was taken."""
        if version is None or size > MAX_READ_BYTES:
            return
        former = self._kept.pop(key, None)
        if former is not None:
            self._bytes -= former[2]
        size += ENTRY_BYTES
        self._kept[key] = (version, value, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, (_, _, gone) = self._kept.popitem(last=False)
            self._bytes -= gone
