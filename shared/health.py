"""`python -m shared.health URL`: exit code 0 when URL answers 200 in time, 1 otherwise.

The container images' health check: they hold no curl, and this needs nothing but the standard library. It asks
that one address, follows nothing and knows no proxy.
"""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0


def answers(url: str) -> bool:
    """Whether `url`, plain http, answers 200 within `TIMEOUT_SECONDS`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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
