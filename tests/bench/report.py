"""One line for each figure: what was measured, the figure, and the target it is held against."""

from __future__ import annotations

import sys


def heading(text: str) -> None:
    _say(f"\n{text}")


def line(name: str, figure: str, target: str = "") -> None:
    _say(f"  {name:<58} {figure:>14}  {target}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
