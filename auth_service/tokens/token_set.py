"""What a client gets: an access token, a refresh token and what they are good for."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.scope import Scope


@dataclass(frozen=True, slots=True)
class TokenSet:
    """One answer's tokens; `expires_in` is seconds. The tokens stay out of its repr, and so out of logs."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scope: Scope
