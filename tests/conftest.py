"""Fixtures of every test."""

from __future__ import annotations

from tests.postgresql import postgresql, postgresql_url

__all__ = ["postgresql", "postgresql_url"]
