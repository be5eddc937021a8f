"""The import contracts of pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT


def test_the_import_contracts_hold() -> None:
    """The services never import each other, and inside each a layer imports what stands below it only."""
    program = Path(sys.executable).parent / "lint-imports"
    finished = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
