"""How sure we are of the user: authentication methods and context classes (RFC 8176, RFC 9470)."""

from __future__ import annotations

from dataclasses import dataclass

PASSWORD_METHOD = "pwd"
ONE_FACTOR = "1"
"""The context class of a sign-in with one factor; a resource server that wants more names another."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """One act of signing in: when (seconds since the epoch), by which methods, and how strong that is."""

    time: int
    methods: tuple[str, ...]
    context_class: str


def password_authentication(now: float) -> Authentication:
    """A sign-in with a password alone."""
    return Authentication(int(now), (PASSWORD_METHOD,), ONE_FACTOR)
