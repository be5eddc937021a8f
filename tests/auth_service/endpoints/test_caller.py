"""Whose address is believed: `X-Forwarded-For` from configured proxies only, and only what they wrote."""

from __future__ import annotations

import json

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from auth_service.endpoints.caller import CallerReader
from auth_service.settings import AuthSettings
from shared.settings import SettingsError
from tests.auth_service.running import PASSWORD, Tokens, running_auth
from tests.clock import FrozenClock

TRUSTED = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("10.1.2.3", ["198.51.100.7"], "198.51.100.7"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        ("10.1.2.3", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.1.2.3", ["198.51.100.7, 192.0.2.1"], "198.51.100.7"),
        ("10.1.2.3", ["10.4.4.4, 10.5.5.5"], "10.4.4.4"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.1.2.3", ["6.6.6.6, not an address"], "10.1.2.3"),
        ("10.1.2.3", ["6.6.6.6, 198.51.100.7:8080"], "10.1.2.3"),
        ("10.1.2.3", ["6.6.6.6,"], "10.1.2.3"),
        ("10.1.2.3", ["<script>"], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.007"], "10.1.2.3"),
        ("10.1.2.3", ["2001:db9::5"], "2001:db9::5"),
        ("10.1.2.3", ["2001:DB9:0:0::5"], "2001:db9::5"),
        ("2001:db8::1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.1.2.3", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("10.1.2.3", ["6.6.6.6, " * 10_000 + "198.51.100.7"], "198.51.100.7"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy(peer: str, forwarded: list[str], address: str) -> None:
    """What a caller writes to the left of a proxy's own entry counts for nothing."""
    headers = CIMultiDict(("X-Forwarded-For", value) for value in forwarded)
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)
    assert CallerReader(TRUSTED).read(request).address == address


async def address_of_session(
    environment: dict[str, str], clock: FrozenClock, proxies: list[str], **headers: str
) -> object:
    """Where a sign-in with these headers is listed to have come from."""
    settings = AuthSettings.load({**environment, "AUTH_TRUSTED_PROXIES": json.dumps(proxies)})
    async with running_auth(settings, clock) as auth:
        await auth.register()
        tokens = Tokens.of(await auth.post("/login", {"username": "alice", "password": PASSWORD}, **headers))
        (session,) = (await auth.get("/sessions", token=tokens.access_token)).json()["sessions"]
        return session["address"]


FORGED = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "7.7.7.7", "Forwarded": "for=8.8.8.8", "True-Client-IP": "9.9.9.9"}


async def test_without_proxies_no_header_moves_the_caller(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """The default: the address is the connection's."""
    assert await address_of_session(auth_environment, clock, [], **FORGED) == "127.0.0.1"


async def test_a_configured_proxy_is_believed(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """Only its X-Forwarded-For, none of the other spellings."""
    assert await address_of_session(auth_environment, clock, ["127.0.0.0/8"], **FORGED) == "6.6.6.6"


def test_what_is_no_network_is_refused_at_the_start() -> None:
    """A misspelt proxy must not silently be none, or everybody."""
    for proxies in ['["10.0.0.1/8"]', '["proxy.example"]', '["*"]', '["10.0.0.0/99"]', "10.0.0.0/8"]:
        with pytest.raises(SettingsError, match="AUTH_TRUSTED_PROXIES"):
            AuthSettings.load({"AUTH_TRUSTED_PROXIES": proxies})
