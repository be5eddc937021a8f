"""How the C allocator keeps memory that was freed.

glibc raises its threshold for blocks of their own with each large block it sees freed, up to 32 MiB. One password hash
(19 MiB) is enough for all later ones to be kept in the heap for ever, once for each thread. Fixing the threshold
switches that off: what is large goes back to the system when it is freed.
"""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
LARGE_BLOCK_BYTES = 1_048_576
ARENAS = 2
"""Heaps for threads; the default is eight for each core, and each keeps what was once used."""


def return_large_blocks() -> bool:
    """Make the allocator give large blocks back; False where the C library has no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)) and bool(mallopt(M_ARENA_MAX, ARENAS))
