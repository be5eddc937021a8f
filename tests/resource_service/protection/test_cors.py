"""Browsers of other origins (reference, section 7)."""

from __future__ import annotations

import pytest

from resource_service.protection import ProtectedResource
from tests.clock import FrozenClock
from tests.protocol.minting import mint
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer
from tests.wire import Reply, exchange

APP = "https://app.example"


def cors_headers(reply: Reply) -> dict[str, str]:
    """The headers for browsers, in lower case."""
    return {
        name.lower(): value
        for name, value in reply.headers.items()
        if name.lower().startswith("access-control-") or name.lower() == "vary"
    }


def allowing(issuer: Issuer, *origins: str) -> ProtectedResource:
    return resource_of(issuer, allow_origins=frozenset(origins))


async def preflight(api: Api, path: str = "/read", origin: str = APP) -> Reply:
    return await api.request("OPTIONS", path, Origin=origin, Access_Control_Request_Method="PUT")


async def test_a_preflight_is_answered_without_a_token(issuer: Issuer, clock: FrozenClock) -> None:
    """The golden answer to a preflight: what may be sent, for whom, and never with credentials."""
    async with running_api(allowing(issuer, APP), clock) as api:
        reply = await preflight(api)
        assert reply.status == 204
        assert cors_headers(reply) == {
            "access-control-allow-origin": APP,
            "access-control-allow-methods": "GET, HEAD",
            "access-control-allow-headers": "Authorization, DPoP, Content-Type, If-Match, If-None-Match",
            "access-control-max-age": "600",
            "access-control-expose-headers": "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, X-Request-ID",
            "vary": "Origin",
        }
        assert "access-control-allow-credentials" not in cors_headers(reply)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{APP}.evil.example", "http://app.example", ""])
async def test_another_origin_gets_nothing(issuer: Issuer, clock: FrozenClock, origin: str) -> None:
    """An origin that is not allowed, `null` among them, is never reflected (CVE-2024-41657)."""
    async with running_api(allowing(issuer, APP), clock) as api:
        for reply in (await preflight(api, origin=origin), await api.get(token=mint(), Origin=origin)):
            assert reply.status in (200, 204)
            assert cors_headers(reply) == {"vary": "Origin"}


async def test_two_origins_are_none(issuer: Issuer, clock: FrozenClock) -> None:
    """A request with two Origin fields is nobody's."""
    async with running_api(allowing(issuer, APP), clock) as api:
        lines = f"Origin: {APP}\r\nOrigin: {APP}\r\n".encode()
        reply = await exchange(api.port, b"GET /hello HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
        assert cors_headers(reply) == {"vary": "Origin"}


async def test_answers_and_refusals_can_be_read(issuer: Issuer, clock: FrozenClock) -> None:
    """200, 401, 403, 404 and 503 alike: the page must be able to read the challenge."""
    async with running_api(allowing(issuer, APP), clock) as api:
        for reply, status in [
            (await api.get(token=mint(), Origin=APP), 200),
            (await api.get(Origin=APP), 401),
            (await api.get("/read", mint(claims={"scope": "x"}), Origin=APP), 403),
            (await api.get("/nowhere", Origin=APP), 404),
        ]:
            assert reply.status == status
            assert cors_headers(reply)["access-control-allow-origin"] == APP
            assert "WWW-Authenticate" in cors_headers(reply)["access-control-expose-headers"]


async def test_any_origin(issuer: Issuer, clock: FrozenClock) -> None:
    """`*` is said as such and needs no Vary; `null` is still nobody."""
    async with running_api(allowing(issuer, "*"), clock) as api:
        reply = await api.get(token=mint(), Origin="https://anybody.example")
        assert cors_headers(reply)["access-control-allow-origin"] == "*"
        assert "vary" not in cors_headers(reply)
        assert "access-control-allow-credentials" not in cors_headers(reply)
        assert "access-control-allow-origin" not in cors_headers(await api.get(token=mint(), Origin="null"))


async def test_without_allowed_origins_nothing_is_added(api: Api) -> None:
    """The default: a preflight is answered with no, and no answer has a header for browsers."""
    reply = await preflight(api)
    assert (reply.status, cors_headers(reply)) == (204, {})
    assert cors_headers(await api.get(token=mint(), Origin=APP)) == {}


async def test_only_a_preflight_is_let_through(issuer: Issuer, clock: FrozenClock) -> None:
    """OPTIONS that is no preflight, or for nothing that exists, reaches no handler."""
    async with running_api(allowing(issuer, APP), clock) as api:
        assert (await api.request("OPTIONS", "/read", Origin=APP)).status == 405
        assert (await preflight(api, "/nowhere")).status == 404
        assert (await api.request("GET", "/read", Origin=APP, Access_Control_Request_Method="GET")).status == 401


async def test_metadata_is_for_everybody(issuer: Issuer, clock: FrozenClock) -> None:
    """The RFC 9728 document may be read from any origin, whatever the API allows."""
    async with running_api(allowing(issuer, APP), clock) as api:
        reply = await api.get("/.well-known/oauth-protected-resource", Origin="https://anybody.example")
        assert cors_headers(reply) == {"access-control-allow-origin": "*"}


async def test_a_preflight_for_metadata_is_for_everybody(issuer: Issuer, clock: FrozenClock) -> None:
    """A page that sends a header of its own with the request asks first, and is told the same."""
    for origins in ((), (APP,)):
        async with running_api(allowing(issuer, *origins), clock) as api:
            reply = await preflight(api, "/.well-known/oauth-protected-resource", "https://anybody.example")
            assert reply.status == 204
            assert cors_headers(reply) == {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "GET, HEAD",
                "access-control-allow-headers": "Authorization, DPoP, Content-Type, If-Match, If-None-Match",
                "access-control-max-age": "600",
            }


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "https://",
        "https://App.example",
        "https://a@app.example",
        "http://app.example",
        "null",
        "ftp://a.example",
        "",
    ],
)
def test_what_is_no_origin_cannot_be_allowed(origin: str) -> None:
    """An origin is scheme, host and port, and safe on its way here; anything else in the configuration is refused."""
    with pytest.raises(ValueError, match="origin"):
        allowing(Issuer(port=1), origin)


def test_every_origin_and_another_is_a_mistake() -> None:
    """`*` stands alone."""
    with pytest.raises(ValueError, match="already allows"):
        allowing(Issuer(port=1), "*", APP)
