"""`python -m shared.health URL`: exit code 0 when URL answers 200 in time, 1 otherwise.

The container images' health check: they hold no curl, and this needs nothing but the standard library.
"""

from __future__ import annotations

import http.client
import sys
import urllib.request

TIMEOUT_SECONDS = 3.0


def answers(url: str) -> bool:
    """Whether `url` answers 200 within `TIMEOUT_SECONDS`; no proxy is asked, however the environment is set."""
    if not url.startswith(("http://", "https://")):
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            status: int = response.status
            return status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        # urllib's errors are OSErrors: not listening, not in time, not 2xx.
        return False


def main(arguments: list[str]) -> int:
    """Check the one URL given; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m shared.health URL", file=sys.stderr)
        return 1
    url = arguments[0]
    if answers(url):
        return 0
    print(f"{url} does not answer 200", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
