"""What revocation costs: the check in each request, the documents, and how a reader keeps up."""

from __future__ import annotations

import secrets
import time
import tracemalloc
from collections.abc import Callable, Sequence

from resource_service.protection.revocation import RevokedSet
from shared.access_token import AccessTokenDecoder, VerifiedAccessToken
from shared.revocation_feed import (
    MAX_ENTRIES,
    Position,
    Revocation,
    RevocationDocument,
    RevokedKind,
    encode_document,
    group,
    identifier_hash,
    read_document,
)
from tests.bench import report
from tests.protocol.minting import ISSUER, NOW, RULES, mint, signing_key

SIZES = (1_000, 10_000, 100_000, 1_000_000)
CHECKS = 200_000
ROUNDS = 5
EXPIRES_AT = int(NOW) + 1_140


def main() -> None:
    report.heading(f"Revocation: the check in each request, a cached token, CPU time, best of {ROUNDS} rounds")
    token = _token()
    nothing = RevokedSet()
    empty = _seconds_each(lambda: nothing.covers(token))
    report.line("no entries", f"{empty * 1e6:.2f} us", "target 2 us")
    for size in SIZES:
        _size(size, token)


def _size(size: int, token: VerifiedAccessToken) -> None:
    entries = [Revocation(RevokedKind.SESSION, secrets.token_bytes(32), None, EXPIRES_AT) for _ in range(size)]
    # Every kind is there, as it may be: each is looked up.
    entries += [Revocation(kind, identifier_hash("another"), None, EXPIRES_AT) for kind in RevokedKind]
    pages = [entries[at : at + MAX_ENTRIES] for at in range(0, len(entries), MAX_ENTRIES)]
    begun = time.process_time()
    documents = [_encode(page, len(entries)) for page in pages]
    encoding = time.process_time() - begun
    begun = time.process_time()
    revoked, key = RevokedSet(), signing_key().public_jwk
    for document in documents:
        revoked.add(read_document(document).verify(key, ISSUER).groups)
    reading = time.process_time() - begun
    seconds = _seconds_each(lambda: revoked.covers(token))
    bytes_held = _bytes_held(documents)
    sent = sum(map(len, documents))
    report.heading(f"Revocation: {size:,} live entries (times are CPU time)")
    report.line("check, every kind held", f"{seconds * 1e6:.2f} us", "target 2 us")
    report.line("snapshot", _megabytes(sent), f"{len(documents)} documents, {sent / size:.0f} bytes an entry")
    report.line("one change", f"{len(_encode(entries[:1], size))} B")
    report.line("written and signed", f"{encoding:.2f} s", f"{size / encoding:,.0f} entries a second")
    report.line("verified and taken in", f"{reading:.2f} s", f"{size / reading:,.0f} entries a second")
    report.line("held by a reader", _megabytes(bytes_held), f"{bytes_held / size:.0f} bytes an entry")


def _encode(entries: Sequence[Revocation], head: int) -> bytes:
    document = RevocationDocument(
        ISSUER, int(NOW), 0, Position(len(entries), secrets.token_urlsafe(8)), head, group(entries)
    )
    return encode_document(document, signing_key())


def _bytes_held(documents: Sequence[bytes]) -> int:
    """What the allocator hands out for the same, taken in once more."""
    key = signing_key().public_jwk
    tracemalloc.start()
    try:
        revoked = RevokedSet()
        for document in documents:
            revoked.add(read_document(document).verify(key, ISSUER).groups)
        held, _ = tracemalloc.get_traced_memory()
        return held if len(revoked) else 0
    finally:
        tracemalloc.stop()


def _token() -> VerifiedAccessToken:
    return AccessTokenDecoder(RULES).decode(mint(), {signing_key().kid: signing_key().public_jwk}, NOW)


def _seconds_each(check: Callable[[], bool]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(CHECKS):
            check()
        rounds.append((time.process_time() - begun) / CHECKS)
    return min(rounds)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


if __name__ == "__main__":
    main()
