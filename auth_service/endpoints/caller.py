"""Who is at the other end of the connection: the address that throttling and the audit trail go by.

`X-Forwarded-For` is believed only from configured proxies, and only the part that they wrote: read from the right,
the first address that is not a trusted proxy is the caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from aiohttp import web

from auth_service.model.caller import Caller

MAX_FORWARDED_CHARACTERS = 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class CallerReader:
    """Reads the caller off a request."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(network) for network in trusted_proxies)

    def read(self, request: web.Request) -> Caller:
        """The caller's address and what it calls itself."""
        return Caller(address=self._address(request), user_agent=request.headers.get("User-Agent", ""))

    def _address(self, request: web.Request) -> str:
        peer = _parse(request.remote or "")
        if peer is None:
            return ""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))[-MAX_FORWARDED_CHARACTERS:]
        for text in reversed(forwarded.split(",")):
            if not self._is_trusted(peer):
                break
            hop = _parse(text.strip())
            if hop is None:
                break
            peer = hop
        return str(peer)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
