"""The clock that the drills move: what they prove holds only if no process ever sees it go back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.end_to_end.moved_clock import MovedClock
from tests.end_to_end.processes import ROOT

STEPS = 1_000_000
READER = """
import pathlib, sys
from tests.end_to_end.moved_clock import MovedClock
clock = MovedClock(pathlib.Path(sys.argv[1]))
before = clock.monotonic()
print("looking", flush=True)
while (now := clock.monotonic()) < float(sys.argv[2]):
    assert now >= before, before - now
    before = now
"""


def test_a_clock_that_is_moved_never_goes_back(tmp_path: Path) -> None:
    """However often it is moved while another process looks, that process sees no instant that lies before the last."""
    clock = MovedClock(tmp_path / "clock")
    command = [sys.executable, "-c", READER, str(tmp_path / "clock"), str(clock.monotonic() + STEPS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "looking\n"
        for _ in range(STEPS):
            clock.advance(1)
        _, errors = reader.communicate(timeout=60)
    assert (reader.returncode, errors) == (0, "")
