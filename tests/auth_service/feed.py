"""The revocation feed as a test reads it: every document verified with the service's own published keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.jwk import JwkRules, PublicJwk, read_jwk
from shared.revocation_feed import (
    START,
    Position,
    Revocation,
    RevocationDocument,
    RevokedKind,
    identifier_hash,
    read_document,
)
from tests.auth_service.running import ISSUER, AuthClient
from tests.wire import Reply


@dataclass(slots=True)
class FeedReader:
    """Follows one auth service's feed."""

    auth: AuthClient
    position: Position = START
    entries: list[Revocation] = field(default_factory=list)

    async def read(self, query: str = "") -> RevocationDocument:
        """The next document from where this reader is; it moves on."""
        reply = await self.auth.get(f"/revocations?after={self.position.seq}{self._mark()}{query}")
        assert reply.status == 200, reply.body
        document = await verified(self.auth, reply.body)
        self.position = document.reached
        self.entries.extend(document.entries)
        return document

    def holds(self, kind: RevokedKind, identifier: str) -> bool:
        return any(entry[:2] == (kind, identifier_hash(identifier)) for entry in self.entries)

    def _mark(self) -> str:
        return f"&mark={self.position.mark}" if self.position.mark else ""


async def verified(auth: AuthClient, body: bytes) -> RevocationDocument:
    """The document, checked as any reader must."""
    unverified = read_document(body)
    keys: Reply = await auth.get("/.well-known/jwks.json")
    for jwk in keys.json()["keys"]:
        key = read_jwk(jwk, JwkRules())
        if isinstance(key, PublicJwk) and key.kid == unverified.kid:
            document = unverified.verify(key, ISSUER)
            assert abs(document.issued_at - auth.clock.now()) <= 60
            return document
    raise AssertionError("the key that signed is not published")
