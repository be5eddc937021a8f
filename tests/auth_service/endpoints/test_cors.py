"""Pages of other origins that call the auth service (reference, section 7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from auth_service.settings import AuthSettings
from shared.settings import SettingsError
from tests.auth_service.running import PASSWORD, AuthClient, assert_refused, running_auth
from tests.clock import FrozenClock
from tests.wire import Reply

APP, OTHER = "https://app.example", "https://other.example"
FOR_PAGES = {
    "/register": "POST",
    "/login": "POST",
    "/token": "POST",
    "/logout": "POST",
    "/revoke": "POST",
    "/password": "POST",
    "/sessions": "GET, HEAD",
    "/sessions/AAAAAAAAAAAAAAAAAAAAAA": "DELETE",
}
FOR_ALL = [
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/revocations",
    "/openapi.json",
]
STRANGERS = [OTHER, "null", f"{APP}.evil.example", "http://app.example", "https://APP.example", f"{APP}/", "*", ""]


@pytest.fixture
async def open_auth(auth_environment: dict[str, str], clock: FrozenClock) -> AsyncIterator[AuthClient]:
    """The auth service with one origin allowed."""
    settings = AuthSettings.load({**auth_environment, "AUTH_CORS_ORIGINS": json.dumps([APP])})
    async with running_auth(settings, clock) as client:
        yield client


async def preflight(auth: AuthClient, path: str, origin: str, method: str = "POST") -> Reply:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    return await auth.call("OPTIONS", path, headers={"Origin": origin, **asked})


def cors_headers(reply: Reply) -> dict[str, str]:
    """The headers for browsers, in lower case."""
    return {
        name.lower(): value
        for name, value in reply.headers.items()
        if name.lower().startswith("access-control-") or name.lower() == "vary"
    }


@pytest.mark.parametrize("path", FOR_PAGES)
async def test_an_allowed_page_may_call(open_auth: AuthClient, path: str) -> None:
    """The golden answer to a preflight: what may be sent, for whom, and never with cookies."""
    reply = await preflight(open_auth, path, APP)
    assert (reply.status, reply.body) == (204, b"")
    assert cors_headers(reply) == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": FOR_PAGES[path],
        "access-control-allow-headers": "Authorization, DPoP, Content-Type, If-Match, If-None-Match",
        "access-control-max-age": "600",
        "access-control-expose-headers": "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, X-Request-ID",
        "vary": "Origin",
    }


@pytest.mark.parametrize("origin", STRANGERS)
async def test_another_origin_gets_nothing(open_auth: AuthClient, origin: str) -> None:
    """Hostile cases, CVE-2024-41657: no origin is reflected, `null` among them, neither before a call nor after it."""
    for path in FOR_PAGES:
        reply = await preflight(open_auth, path, origin)
        assert (reply.status, cors_headers(reply)) == (204, {"vary": "Origin"})
    await open_auth.register()
    credentials = {"username": "alice", "password": PASSWORD}
    reply = await open_auth.call("POST", "/login", body=credentials, headers={"Origin": origin})
    assert cors_headers(reply) == {"vary": "Origin"}


async def test_a_page_reads_answers_and_refusals(open_auth: AuthClient) -> None:
    """200, 400, 401 and 409 alike; a device cookie that is set with one is not for the page."""
    tokens = await open_auth.new_user()
    credentials = {"username": "alice", "password": PASSWORD}
    for method, path, body, token, status in [
        ("POST", "/login", credentials, None, 200),
        ("POST", "/login", {**credentials, "password": "wrong"}, None, 401),
        ("POST", "/login", {}, None, 400),
        ("POST", "/register", credentials, None, 409),
        ("GET", "/sessions", None, tokens.access_token, 200),
        ("GET", "/sessions", None, None, 401),
    ]:
        reply = await open_auth.call(method, path, body=body, token=token, headers={"Origin": APP})
        assert reply.status == status
        assert cors_headers(reply) == {
            "access-control-allow-origin": APP,
            "access-control-expose-headers": "WWW-Authenticate, DPoP-Nonce, ETag, Retry-After, X-Request-ID",
            "vary": "Origin",
        }


async def test_caches_are_told_that_the_origin_matters(open_auth: AuthClient) -> None:
    """`Vary: Origin` also where no origin was sent: the answer would have been another with one."""
    assert cors_headers(await open_auth.get("/sessions")) == {"vary": "Origin"}


@pytest.mark.parametrize("path", FOR_ALL)
async def test_public_documents_are_for_every_page(auth: AuthClient, open_auth: AuthClient, path: str) -> None:
    """`*` in the answer and in the preflight that a page with an `If-None-Match` of its own sends first, whatever
    origins are allowed elsewhere."""
    for service in (auth, open_auth):
        for origin in (APP, OTHER, "null"):
            got = await service.get(path, headers={"Origin": origin})
            assert got.headers["Access-Control-Allow-Origin"] == "*"
            assert "Origin" not in got.headers.get("Vary", "")
            asked = await preflight(service, path, origin, "GET")
            assert asked.status == 204
            assert cors_headers(asked) == {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "GET, HEAD",
                "access-control-allow-headers": "Authorization, DPoP, Content-Type, If-Match, If-None-Match",
                "access-control-max-age": "600",
            }


async def test_without_the_setting_no_page_may_call(auth: AuthClient) -> None:
    """The default: a preflight finds no such method, and no answer has a header for browsers."""
    for path in FOR_PAGES:
        reply = await preflight(auth, path, APP)
        assert_refused(reply, 405, "method_not_allowed")
        assert cors_headers(reply) == {}
    assert cors_headers(await auth.get("/sessions", headers={"Origin": APP})) == {}


async def test_what_is_not_for_pages_stays_so(open_auth: AuthClient) -> None:
    """Health is for machines, and nothing is at an address that nothing is at."""
    for path in ("/livez", "/readyz"):
        assert_refused(await preflight(open_auth, path, APP, "GET"), 405, "method_not_allowed")
        assert cors_headers(await open_auth.get(path, headers={"Origin": APP})) == {}
    assert_refused(await preflight(open_auth, "/nowhere", APP), 404, "not_found")


async def test_options_that_is_no_preflight_names_the_methods(open_auth: AuthClient) -> None:
    """RFC 9110 section 9.3.7; nothing else happens by it."""
    reply = await open_auth.call("OPTIONS", "/login")
    assert (reply.status, reply.headers["Allow"]) == (204, "OPTIONS,POST")


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example", f"{APP}/", f"{APP}/path", "https://*.example", "http://app.example", ""]
)
def test_what_is_no_origin_cannot_be_allowed(origin: str) -> None:
    """Scheme, host and perhaps port, by https but on loopback; `*` would let any page have its visitors guess."""
    with pytest.raises(SettingsError, match="AUTH_CORS_ORIGINS"):
        AuthSettings.load({"AUTH_CORS_ORIGINS": json.dumps([APP, origin])})


def test_loopback_may_be_allowed_by_http() -> None:
    """For development."""
    origins = ["http://localhost:3000", "http://127.0.0.1:5173"]
    assert AuthSettings.load({"AUTH_CORS_ORIGINS": json.dumps(origins)}).cors_origins == tuple(origins)
