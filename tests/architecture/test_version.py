"""The version has one value, wherever it stands."""

from __future__ import annotations

import tomllib

from shared.version import VERSION
from tests.architecture.tree import ROOT


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
