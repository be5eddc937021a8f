"""`docs/architecture.md` is the map of the house."""

from __future__ import annotations

from tests.architecture.tree import ROOT


def test_every_shared_module_is_on_the_map() -> None:
    """Whoever adds a module to `shared/` says there what it is for, and nothing stands there that does not exist."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, below = text.partition("\nshared/ ")
    room, _, _ = below.partition("\nauth_service/")
    named = {word.strip(";:,") for word in room.split() if word.strip(";:,").endswith(".py")}
    assert named == {path.name for path in (ROOT / "shared").glob("*.py")} - {"__init__.py"}
