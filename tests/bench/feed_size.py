"""How large the feed is, and what it costs to follow, by the number of sessions: a simulation, the same on any machine.

Each session is ended by somebody once in three days on average, at any moment; most just expire and need no entry.
The documents are encoded as the auth service encodes them, so the sizes are those on the wire (bodies without HTTP).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from auth_service.model.revocation import ENTRY_SECONDS, EXPIRY_STEP_SECONDS, revoked_session
from auth_service.revocations.feed import GATHER_SECONDS
from shared.revocation_feed import (
    MAX_ENTRIES,
    Position,
    Revocation,
    RevocationDocument,
    encode_document,
    group,
)
from tests.bench import report
from tests.protocol.minting import ISSUER, NOW, signing_key

SESSIONS: Final = (1_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
SECONDS_BETWEEN_ENDINGS: Final = 3 * 86_400.0
"""Of one session."""
FOLLOWED_SECONDS: Final = 600.0
SEED: Final = 20


def main() -> None:
    report.heading("Revocation feed, simulated: each session is ended once in three days on average")
    for sessions in SESSIONS:
        chance = random.Random(SEED)
        rate = sessions / SECONDS_BETWEEN_ENDINGS
        kept_seconds = ENTRY_SECONDS + EXPIRY_STEP_SECONDS
        live = [
            entry
            for at in _endings(rate, kept_seconds, chance)
            if (entry := revoked_session(chance.randbytes(16).hex(), at=NOW - at)).expires_at > NOW
        ]
        pages = [live[at : at + MAX_ENTRIES] for at in range(0, len(live), MAX_ENTRIES)] or [[]]
        whole = sum(len(_encode(page)) for page in pages)
        documents = list(_documents(rate, chance))
        news = sum(map(_news_bytes, documents)) / FOLLOWED_SECONDS
        report.line(
            f"{sessions:,} sessions, {rate:.3g} endings a second",
            _bytes(whole),
            f"{len(live):,} live entries in {len(pages)} documents; to follow {_bytes(news)} a second"
            f" in {len(documents) / FOLLOWED_SECONDS:.2g} documents",
        )


def _endings(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Instants within `seconds` at which sessions end, each independent of the others (a Poisson process)."""
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def _documents(rate: float, chance: random.Random) -> Iterator[int]:
    """How many endings each document carries to a reader that always waits: what comes while the issuer gathers."""
    count, told_at = 0, 0.0
    for at in _endings(rate, FOLLOWED_SECONDS, chance):
        if count and at > told_at:
            yield count
            count = 0
        if not count:
            told_at = at + GATHER_SECONDS
        count += 1
    if count:
        yield count


@lru_cache(maxsize=1_024)
def _news_bytes(count: int) -> int:
    return len(_encode([revoked_session(str(number), at=NOW) for number in range(count)]))


def _encode(entries: Sequence[Revocation]) -> bytes:
    document = RevocationDocument(ISSUER, int(NOW), 10**6, Position(10**6, "m" * 11), 10**6, group(entries))
    return encode_document(document, signing_key())


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1_000 or unit == "MB":
            return f"{count:.3g} {unit}"
        count /= 1_000
    raise AssertionError


if __name__ == "__main__":
    main()
