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


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in gives: the tokens, and what the device is to keep, None when it has that already."""

    tokens: TokenSet
    devices: str | None = field(repr=False)
