"""The cookie that a device keeps its tokens in (`identity.devices`).

It identifies nobody and authorises nothing, so no request is refused for lack of it. A program without a cookie jar may
send it back as it came, in a `Cookie` field.
"""

from __future__ import annotations

from aiohttp import web

from auth_service.identity.devices import LIFETIME_SECONDS

NAME = "signet-device"
SECURE_PREFIX = "__Host-"
"""Browsers take a cookie of such a name over https only, for this host alone and the whole of it (RFC 6265bis)."""


class DeviceCookie:
    """Reads and writes it, in the form that fits the issuer: plain on http, which is for loopback."""

    def __init__(self, issuer: str) -> None:
        self._secure = issuer.startswith("https:")
        self._name = SECURE_PREFIX + NAME if self._secure else NAME

    def read(self, request: web.Request) -> str:
        """The unverified device tokens that were sent; empty for none."""
        return request.cookies.get(self._name, "")

    def write(self, response: web.Response, devices: str | None) -> None:
        """Have the device keep `devices`; None leaves what it has."""
        if devices is not None:
            response.set_cookie(
                self._name,
                devices,
                max_age=LIFETIME_SECONDS,
                path="/",
                secure=self._secure,
                httponly=True,
                samesite="Strict",
            )
