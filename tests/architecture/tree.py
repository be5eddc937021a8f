"""The repository as these tests look at it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def tracked_files() -> Iterator[Path]:
    """Every file under version control that is there; without git, every file outside hidden and built folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        left_out = {".git", ".venv", "var", "build", "__pycache__"}
        names = [path for path in ROOT.rglob("*") if not left_out & set(path.relative_to(ROOT).parts)]
    return (path for path in names if path.is_file())
