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


def test_only_the_commands_and_the_wiring_know_the_storage() -> None:
    """No room but app.py and the command line names auth_service.storage."""
    allowed = {"app.py", "cli.py", "__main__.py"}
    naming = {
        path.relative_to(ROOT / "auth_service")
        for path in (ROOT / "auth_service").rglob("*.py")
        if "auth_service.storage" in path.read_text(encoding="utf-8")
    }
    strangers = {path for path in naming if path.parts[0] != "storage" and str(path) not in allowed}
    assert strangers == set()
