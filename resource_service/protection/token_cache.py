"""Tokens that were verified, so that the next request with the same one costs a dictionary lookup.

Only a token that passed every check gets in, under its whole text, for one generation of one issuer's keys: a key
set that changed empties the cache. Refusals are not kept. What may change meanwhile (time, revocation, what the
route asks) is checked again by whoever asks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from shared.access_token import VerifiedAccessToken

ENTRY_BYTES: Final = 900
"""What an entry takes beside the token's text and its payload: measured 400, rounded up."""
PAYLOAD_SHARE: Final = 0.75
"""Base64url decoded; the payload is kept beside the text and is never longer than this share of it."""


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """How the cache does: entries and estimated bytes now, hits, misses and evictions since the start."""

    entries: int
    estimated_bytes: int
    hits: int
    misses: int
    evictions: int


class VerifiedTokenCache:
    """The verified tokens of one issuer, least recently used first out; bounded in entries and in bytes."""

    __slots__ = ("_bytes", "_entries", "_evictions", "_generation", "_hits", "_max_bytes", "_max_entries", "_misses")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._entries: OrderedDict[str, VerifiedAccessToken] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._generation = 0
        self._hits = self._misses = self._evictions = 0

    def recall(self, unverified_token: str, generation: int) -> VerifiedAccessToken | None:
        """The verified form of a token verified under this generation of keys, None when there is none."""
        if generation != self._generation:
            self._empty(generation)
        verified = self._entries.get(unverified_token)
        if verified is None:
            self._misses += 1
            return None
        self._entries.move_to_end(unverified_token)
        self._hits += 1
        return verified

    def remember(self, unverified_token: str, verified: VerifiedAccessToken, generation: int) -> None:
        """Keep a token that was just verified under this generation of keys."""
        if generation != self._generation:
            self._empty(generation)
        if self._max_entries <= 0 or unverified_token in self._entries:
            return
        self._entries[unverified_token] = verified
        self._bytes += _estimate(unverified_token)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            text, _ = self._entries.popitem(last=False)
            self._bytes -= _estimate(text)
            self._evictions += 1

    def forget(self, unverified_token: str) -> None:
        """Drop a token that will not be good again."""
        if self._entries.pop(unverified_token, None) is not None:
            self._bytes -= _estimate(unverified_token)

    def figures(self) -> CacheFigures:
        return CacheFigures(len(self._entries), self._bytes, self._hits, self._misses, self._evictions)

    def _empty(self, generation: int) -> None:
        self._entries.clear()
        self._bytes = 0
        self._generation = generation


def _estimate(token: str) -> int:
    return ENTRY_BYTES + int(len(token) * (1 + PAYLOAD_SHARE))
