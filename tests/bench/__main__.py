"""`python -m tests.bench [SECTION ...]`: all sections, or those named."""

from __future__ import annotations

import sys

from tests.bench import auth, feed_size, revocation, service, verifier, waiting_readers
from tests.bench.load import require_wrk

SECTIONS = {
    "service": service.main,
    "auth": auth.main,
    "verifier": verifier.main,
    "revocation": revocation.main,
    "feed_size": feed_size.main,
    "waiting_readers": waiting_readers.main,
}


def main(names: list[str]) -> None:
    require_wrk()
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in names or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
