"""The look-alike keys computed anew: a dot on i, j or l is not seen, nor is what joins letters where there are none.

As 0006 in all else: two accounts that were told apart and now look alike both go on, and an account that the previous
release makes after this has the key of that release.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

revision = "0007"
down_revision = "0006"

_before: Any = import_module("auth_service.storage.migrations.versions.0006_lookalike_keys")


def upgrade() -> None:
    _before.upgrade()
