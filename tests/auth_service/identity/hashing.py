"""A hash profile for tests that are not about the profile: Argon2 at its cheapest."""

from __future__ import annotations

from dataclasses import replace

from auth_service.identity.passwords import OWASP_ARGON2ID

CHEAP = replace(OWASP_ARGON2ID, time_cost=1, memory_cost=8)
OLDER = replace(CHEAP, memory_cost=16)
"""Another profile, as a former release may have had."""
