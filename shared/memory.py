"""How the C allocator keeps memory that was freed.

glibc raises its threshold for blocks of their own with each large block it sees freed, up to 32 MiB. One password hash
(19 MiB) is enough for all later ones to be kept in the heap for ever, once for each thread. Fixing the threshold
switches that off: what is large goes back to the system when it is freed.

To get it anew each time costs as well: 4,865 page faults, 12 ms beside the 25 ms of the hash. `ReusedBlocks` is for
that: while more such work waits, its memory stays.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
LARGE_BLOCK_BYTES = 1_048_576
LARGEST_HEAP_BLOCK_BYTES = 32 * 1_048_576
"""The most that glibc takes for M_MMAP_THRESHOLD."""
KEPT_BYTES = 64 * 1_048_576
"""What one heap may keep while more work waits: the most that it can hold."""
ARENAS = 2
"""Heaps for threads; the default is eight for each core, and each keeps what was once used."""


def return_large_blocks() -> bool:
    """Make the allocator give large blocks back; False where the C library has no such setting."""
    library = _glibc()
    if library is None:
        return False
    return bool(library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)) and bool(library.mallopt(M_ARENA_MAX, ARENAS))


class ReusedBlocks:
    """Memory of work that comes in bursts, of up to 32 MiB for each piece.

    Kept for the next piece while one waits, given back when none does. It does nothing where there is no glibc.
    """

    def __init__(self) -> None:
        self._library = _glibc()
        self._keeps = False
        if self._library is not None:
            self._library.mallopt(M_MMAP_THRESHOLD, LARGEST_HEAP_BLOCK_BYTES)
            self._library.mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK_BYTES)

    def expect(self, *, more: bool) -> None:
        """Say whether more work waits than is being done; costs nothing when that is as it was."""
        if self._library is not None and more != self._keeps:
            self._keeps = more
            self._library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES if more else LARGE_BLOCK_BYTES)

    def give_back(self) -> None:
        """Give back what is free and lies below something that is not; a millisecond, best off the loop."""
        if self._library is not None:
            self._library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
