"""What is asked about every token, cached or not, before it expires by itself."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from shared.access_token import VerifiedAccessToken
from shared.errors import Unavailable
from shared.revocation_feed import RevocationGroup, RevokedKind

EXPIRY_MARGIN_SECONDS: Final = 60
"""How much longer than the feed says an entry is kept: our clock may be ahead of the issuer's."""
BUCKET_SECONDS: Final = 30
"""Entries leave in groups that fall due together."""
MAX_DROPPED: Final = 32_768
"""Entries that leave at a time: some 5 ms in which no request is answered."""
_ALWAYS: Final = math.inf

_Validity = tuple[float, int]
"""Up to which `iat` tokens are void, and until when the entry is kept."""


class RevocationsUnavailable(Unavailable):
    """What is known about revocations is too old to vouch for the token (and 401 would end a good session)."""

    def __init__(self) -> None:
        super().__init__("What was revoked is not known here at present.", retry_after=1)


class StatusListUnknown(RevocationsUnavailable):
    """The list that a token's status stands in was never fetched, and may be: who can wait asks for that and comes
    again, anybody else says that nothing can be said."""

    def __init__(self, issuer: str, uri: str) -> None:
        super().__init__()
        self.issuer = issuer
        self.uri = uri


class RevocationCheck(Protocol):
    """Knows which tokens were revoked; asked on the way of every request, so it answers from memory.

    It may raise a `shared.errors.Unavailable` when its knowledge is too old to answer.
    """

    def is_revoked(self, token: VerifiedAccessToken) -> bool: ...


class RevokedSet:
    """What one issuer has revoked. Asking costs some dictionary lookups, however much there is."""

    def __init__(self) -> None:
        self._by_kind: dict[RevokedKind, dict[bytes, _Validity]] = {kind: {} for kind in RevokedKind}
        self._tokens = self._by_kind[RevokedKind.TOKEN]
        self._sessions = self._by_kind[RevokedKind.SESSION]
        self._accounts = self._by_kind[RevokedKind.ACCOUNT]
        self._clients = self._by_kind[RevokedKind.CLIENT]
        self._keys = self._by_kind[RevokedKind.KEY]
        self._due: defaultdict[int, list[tuple[RevokedKind, Sequence[bytes]]]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(map(len, self._by_kind.values()))

    def covers(self, token: VerifiedAccessToken) -> bool:
        """Whether the token is void. Its identifiers are hashed once in its life, and only when there is a need."""
        sessions, tokens, accounts = self._sessions, self._tokens, self._accounts
        if sessions or tokens or accounts or self._clients or self._keys:
            hashes, issued_at = token.identifier_hashes, token.issued_at
            return (
                issued_at <= sessions.get(hashes.session, _NEVER)[0]
                or issued_at <= tokens.get(hashes.token, _NEVER)[0]
                or issued_at <= accounts.get(hashes.account, _NEVER)[0]
                or issued_at <= self._clients.get(hashes.client, _NEVER)[0]
                or issued_at <= self._keys.get(hashes.key, _NEVER)[0]
            )
        return False

    def covers_key(self, kid_hash: bytes) -> bool:
        """Whether a key was revoked."""
        return kid_hash in self._keys

    def add(self, groups: Iterable[RevocationGroup]) -> bool:
        """Put entries in; whether any of them told something new.

        Nothing is ever taken back: of two for one identifier the wider and the longer hold.
        """
        learned = False
        for kind, before, expires_at, hashes in groups:
            validity = (_ALWAYS if before is None else before, expires_at)
            held = self._by_kind[kind]
            if held.keys().isdisjoint(hashes):
                held.update(dict.fromkeys(hashes, validity))
                self._due[_bucket(expires_at)].append((kind, hashes))
                learned = True
            else:
                for hashed in hashes:
                    learned |= self._widen(kind, hashed, validity)
        return learned

    def drop_expired(self, now: float) -> None:
        """Forget what no token that is still accepted can be concerned by; of very much only a part at a time."""
        last, left = _bucket(now - EXPIRY_MARGIN_SECONDS), MAX_DROPPED
        for bucket in sorted(bucket for bucket in self._due if bucket < last):
            groups = self._due[bucket]
            while groups and left > 0:
                kind, hashes = groups.pop()
                left -= len(hashes)
                self._drop(kind, hashes, bucket)
            if groups:
                return
            del self._due[bucket]

    def _widen(self, kind: RevokedKind, hashed: bytes, validity: _Validity) -> bool:
        former = self._by_kind[kind].get(hashed)
        if former is not None:
            if validity[0] <= former[0] and validity[1] <= former[1]:
                return False
            validity = (max(validity[0], former[0]), max(validity[1], former[1]))
        self._by_kind[kind][hashed] = validity
        self._due[_bucket(validity[1])].append((kind, (hashed,)))
        return True

    def _drop(self, kind: RevokedKind, hashes: Iterable[bytes], bucket: int) -> None:
        held = self._by_kind[kind]
        for hashed in hashes:
            validity = held.get(hashed)
            # One that was prolonged stands in a later bucket as well.
            if validity is not None and _bucket(validity[1]) <= bucket:
                del held[hashed]


_NEVER: Final[_Validity] = (-1.0, 0)


def _bucket(instant: float) -> int:
    return int(instant // BUCKET_SECONDS)
