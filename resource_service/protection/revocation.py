"""What is asked about every token, cached or not, before it expires by itself."""

from __future__ import annotations

from typing import Protocol

from shared.access_token import VerifiedAccessToken


class RevocationCheck(Protocol):
    """Knows which tokens were revoked; asked on the way of every request, so it answers from memory.

    It may raise a `shared.errors.Unavailable` when its knowledge is too old to answer.
    """

    def is_revoked(self, token: VerifiedAccessToken) -> bool: ...


class NothingRevoked:
    """For issuers that publish no revocations: a token is good until it expires."""

    def is_revoked(self, token: VerifiedAccessToken) -> bool:  # noqa: ARG002 - the protocol's signature
        return False
