"""Where an issuer's status lists may lie: what a token says is followed below one configured address only.

A token names the address that we then ask, so it is compared in parts and never as a mere text. What could be read in
two ways (escapes, dots, a user, a query) is refused instead of interpreted.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from shared.settings import check_url

_segment = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", re.ASCII).fullmatch
"""RFC 3986 section 3.3 without escapes."""


class StatusListPrefix:
    """The origin and the path that the addresses of one issuer's lists begin with."""

    def __init__(self, prefix: str, *, issuer: str, plain_http_hosts: tuple[str, ...] = ()) -> None:
        """Raise ValueError for a prefix that may not be asked at, or less safe than the issuer."""
        parts = urlsplit(check_url(prefix, plain_http_hosts=plain_http_hosts))
        if issuer.startswith("https:") and parts.scheme != "https":
            raise ValueError("must be https where the issuer is")
        self._path = parts.path.removesuffix("/")
        if self._path and not _is_plain(self._path):
            raise ValueError("must have a path without escapes, empty parts and dots")
        self._origin = (parts.scheme, parts.netloc)
        self._plain_http_hosts = plain_http_hosts

    def covers(self, unverified_address: str) -> bool:
        """Whether the address is the prefix itself or lies below it."""
        try:
            parts = urlsplit(check_url(unverified_address, plain_http_hosts=self._plain_http_hosts))
        except ValueError:
            return False
        if (parts.scheme, parts.netloc) != self._origin or not _is_plain(parts.path):
            return False
        return parts.path == self._path or parts.path.startswith(self._path + "/")


def _is_plain(path: str) -> bool:
    return path.startswith("/") and all(
        _segment(segment) and segment not in (".", "..") for segment in path[1:].split("/")
    )
