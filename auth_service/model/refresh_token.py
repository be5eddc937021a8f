"""The refresh token: what the client holds, what the server keeps of it, and how one follows another.

A token is a handle and a secret, both random. The handle is the same through all tokens of one session, so a token
of any age is recognised as belonging to it; only who holds one of them knows it. The secret changes with each use.
The server keeps hashes of both and, of the newest token, the salt that made it: the successor is
HMAC-SHA256(parent's secret, salt). Who has the parent and comes again gets the same successor; who has the database
has no token; who has an old token cannot compute newer ones, for the salts are random and never leave the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

HANDLE_BYTES = 16
"""128 bits: not to be guessed, for who knows it can end the session."""
SECRET_BYTES = 32
"""256 bits (RFC 6749 section 10.10 asks for at least 128)."""
TOKEN_PREFIX = "signet_refresh_"
TOKEN_FORM = re.compile(rf"{TOKEN_PREFIX}([A-Za-z0-9_-]{{64}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token in clear; it stays out of its repr, and so out of logs."""

    handle: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> RefreshToken:
        """The first token of a session."""
        return cls(secrets.token_bytes(HANDLE_BYTES), secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, presented: str) -> RefreshToken | None:
        """Read what a client sent; None when it cannot be a token of ours."""
        form = TOKEN_FORM.fullmatch(presented)
        if form is None:
            return None
        both = base64.urlsafe_b64decode(form[1])
        return cls(both[:HANDLE_BYTES], both[HANDLE_BYTES:])

    def clear_text(self) -> str:
        """The token as the client gets it, 79 characters."""
        return TOKEN_PREFIX + base64.urlsafe_b64encode(self.handle + self.secret).decode("ascii")

    @property
    def handle_hash(self) -> bytes:
        """What a session is looked up by."""
        return hashlib.sha256(self.handle).digest()

    @property
    def secret_hash(self) -> bytes:
        """What a presented token is compared with. Random input needs no slow hash."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> RefreshToken:
        """The token that follows this one under `salt`."""
        return RefreshToken(self.handle, hmac.digest(self.secret, salt, "sha256"))


def new_successor_salt() -> bytes:
    """A salt for one rotation, as random as the token that it makes."""
    return secrets.token_bytes(SECRET_BYTES)
