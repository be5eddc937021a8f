"""What holds for every route of the auth service, whatever it is for: found by walking the routes that are mounted."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth_service.app import open_auth_service
from auth_service.settings import AuthSettings
from tests.auth_service.running import FORM, PASSWORD, AuthClient, Tokens, assert_refused
from tests.clock import FrozenClock
from tests.wire import exchange

ROUTES = {
    "/register": {"POST"},
    "/login": {"POST"},
    "/token": {"POST"},
    "/logout": {"POST"},
    "/revoke": {"POST"},
    "/revocations": {"GET", "OPTIONS"},
    "/statuslists": {"GET", "OPTIONS"},
    "/statuslists/{number}": {"GET", "OPTIONS"},
    "/password": {"POST"},
    "/set-password": {"GET", "POST"},
    "/set-password/done": {"GET"},
    "/sessions": {"GET"},
    "/sessions/{sid}": {"DELETE"},
    "/.well-known/jwks.json": {"GET", "OPTIONS"},
    "/.well-known/oauth-authorization-server": {"GET", "OPTIONS"},
    "/.well-known/openid-configuration": {"GET", "OPTIONS"},
    "/openapi.json": {"GET", "OPTIONS"},
    "/livez": {"GET"},
    "/readyz": {"GET"},
}
BODIES = sorted(path for path, methods in ROUTES.items() if "POST" in methods)
FORMS = {"/token", "/revoke", "/set-password"}
JSON_BODIES = [path for path in BODIES if path not in FORMS]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE")


@pytest.fixture
def auth_settings(auth_environment: dict[str, str]) -> AuthSettings:
    """With everything on that has routes."""
    return AuthSettings.load({**auth_environment, "AUTH_STATUS_LIST": "true"})


def filled(path: str) -> str:
    return path.replace("{sid}", "AAAAAAAAAAAAAAAAAAAAAA").replace("{number}", "0")


async def test_the_routes_are_known(auth_settings: AuthSettings, clock: FrozenClock) -> None:
    """A route that is added is added here, and so to every test below."""
    async with open_auth_service(auth_settings, clock) as service:
        mounted: dict[str, set[str]] = {}
        for route in service.app.router.routes():
            assert route.resource is not None
            mounted.setdefault(route.resource.canonical, set()).add(route.method)
    for path, methods in ROUTES.items():
        heads = {"HEAD"} if "GET" in methods else set()
        assert mounted.pop(path) == methods | heads
    assert not mounted


async def test_another_method_is_refused_with_those_that_are_there(auth: AuthClient) -> None:
    """405 with Allow, in our form (RFC 9110 section 15.5.6)."""
    for path, methods in ROUTES.items():
        taken = methods | ({"HEAD"} if "GET" in methods else set())
        for method in set(METHODS) - taken:
            reply = await auth.call(method, filled(path))
            assert reply.status == 405
            assert set(reply.headers["Allow"].split(",")) == taken
            if method != "HEAD":
                assert_refused(reply, 405, "method_not_allowed")


async def test_head_is_get_without_a_body(auth: AuthClient) -> None:
    """Same status and headers, no content (RFC 9110 section 9.3.2)."""
    tokens = await auth.new_user()
    for path in sorted(path for path in ROUTES if "GET" in ROUTES[path]):
        got = await auth.get(path, token=tokens.access_token)
        head = await auth.call("HEAD", path, token=tokens.access_token)
        assert (head.status, head.body) == (got.status, b"")
        for name in ("Content-Type", "Cache-Control", "ETag", "Content-Length"):
            assert head.headers.get(name) == got.headers.get(name)


async def test_an_unknown_address_is_not_there(auth: AuthClient) -> None:
    """404 in our form; hostile cases, CVE-2021-21330, CVE-2024-23334, CVE-2026-34457: no redirect, no file served, no
    spelling or suffix that reaches another route without its checks."""
    for path in [
        "/",
        "/nowhere",
        "/login/",
        "/Login",
        "/login/x",
        "//login",
        "/login%2f",
        "/%6cogin/x",
        "/livez/../sessions",
        "/sessions/",
        "/sessions/a/b",
        "/.well-known/",
        "/.well-known/jwks.json/",
        "/.well-known/..%2fsessions",
        "/metrics",
        "/docs",
        "/admin",
        "/static/app.py",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/favicon.ico",
        "/set-password/",
        "/set-password/other",
        "/set-password.html",
        "/style.css",
        "/templates/layout.html",
        "/robots.txt",
        "/.env",
        "/.git/config",
        "/ping",
        "/sessions;x=/livez",
        "/canary-that-must-not-come-back",
    ]:
        reply = await auth.get(path)
        assert_refused(reply, 404, "not_found")
        assert b"canary" not in reply.body


async def test_no_probe_and_no_origin_is_let_past_the_checks(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-34457, CVE-2026-41059, CVE-2026-40575: no header exempts a protected route."""
    for headers in (
        {"User-Agent": "kube-probe/1.29"},
        {"User-Agent": "GoogleHC/1.0"},
        {"User-Agent": "ELB-HealthChecker/2.0"},
        {"X-Original-URL": "/livez"},
        {"X-Rewrite-URL": "/livez"},
        {"X-Forwarded-Uri": "/livez"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Auth-Subject": "admin"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    ):
        assert_refused(await auth.get("/sessions", headers=headers), 401, "missing_credentials")


async def test_no_origin_is_ever_reflected(auth: AuthClient) -> None:
    """Hostile cases, CVE-2024-41657: public documents say `*` and never allow credentials, nothing else says a word."""
    for origin in ["https://evil.example", "null", "http://localhost:8001"]:
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for path, methods in ROUTES.items():
            for method, headers in ((min(methods), {"Origin": origin}), ("OPTIONS", preflight)):
                reply = await auth.call(method, filled(path), headers=headers)
                assert reply.headers.get("Access-Control-Allow-Origin") in (None, "*")
                assert "Access-Control-Allow-Credentials" not in reply.headers
                if path in (*BODIES, "/sessions", "/sessions/{sid}"):
                    assert "Access-Control-Allow-Origin" not in reply.headers


# Bodies.


@pytest.mark.parametrize("path", JSON_BODIES)
async def test_a_body_that_is_not_what_is_asked_for_is_refused(auth: AuthClient, path: str) -> None:
    """Hostile cases, "any malformed input": 400, never a 5xx, before and after signing in."""
    tokens = await auth.new_user()
    token = tokens.access_token if path == "/password" else None
    for body in [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"\xff": 1}',
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"[" * 10_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"username": "\\ud800", "password": "\\udfff"}',
        b"username=alice&password=x",
        '{"username": "alice"}'.encode("utf-16"),
    ]:
        reply = await auth.call("POST", path, body=body, token=token)
        assert_refused(reply, 400, "invalid_request")


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_that_is_too_large_is_refused(auth: AuthClient, path: str) -> None:
    """413 whether its length is announced or not."""
    tokens = await auth.new_user()
    token = tokens.access_token if path == "/password" else None
    headers = FORM if path in FORMS else {}
    body = b"a=" + b"x" * 40_000 if path in FORMS else json.dumps({"username": "x" * 20_000}).encode()
    assert_refused(await auth.call("POST", path, body=body, token=token, headers=headers), 413, "content_too_large")


@pytest.mark.parametrize("path", JSON_BODIES)
async def test_another_media_type_is_refused(auth: AuthClient, path: str) -> None:
    """A form of another site cannot post here without asking first (415)."""
    tokens = await auth.new_user()
    token = tokens.access_token if path == "/password" else None
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "*/*"]:
        reply = await auth.call("POST", path, body=b"{}", token=token, headers={"Content-Type": content_type})
        assert_refused(reply, 415, "unsupported_media_type")


async def test_a_doubtful_head_never_reaches_a_route(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-34525 and its kin: two hosts, two lengths, folding, no host: 400 and the end of it."""
    for head in [
        "Host: localhost\r\nHost: evil.example",
        "Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2",
        "Host: localhost\r\nX: a\r\n b",
        "X-No-Host: 1",
        "Host: a b",
    ]:
        for path, methods in ROUTES.items():
            sent = f"{min(methods)} {filled(path)} HTTP/1.1\r\n{head}\r\n\r\n{{}}"
            reply = await exchange(auth.port, sent.encode())
            assert_refused(reply, 400, "invalid_request")
            assert reply.closed


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    ["username", "password", "scope", "email", "name", "refresh_token", "current_password", "new_password"]
)


@given(
    path=st.sampled_from(JSON_BODIES),
    body=st.dictionaries(MEMBERS, JSON_VALUES, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_json_makes_the_service_fail(auth: AuthClient, path: str, body: dict[str, object]) -> None:
    """Hostile cases, "any malformed input from the whole corpus": known members with any value: no 5xx."""
    assert (await auth.post(path, body)).status < 500


@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["grant_type", "refresh_token", "scope", "resource", "client_id"]), st.text(max_size=60)
        ),
        max_size=5,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_form_makes_the_service_fail(auth: AuthClient, pairs: list[tuple[str, str]]) -> None:
    """The same for the token endpoint's form, parameters twice included."""
    form = urlencode([("grant_type", "refresh_token"), *pairs])
    assert (await auth.post_form("/token", form)).status in (400, 401)


@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(["token", "new_password", "repeated_password", "username"]), st.text(max_size=60)),
        max_size=5,
    ),
    junk=st.binary(max_size=20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_page_form_makes_the_service_fail(auth: AuthClient, pairs: list[tuple[str, str]], junk: bytes) -> None:
    """The same for the form of a page: without a link that works it comes to nothing."""
    body = urlencode(pairs).encode() + junk
    reply = await auth.call("POST", "/set-password", body=body, headers=FORM)
    assert reply.status in (400, 404)


@given(
    field=st.sampled_from(
        ["Authorization", "X-Forwarded-For", "User-Agent", "If-None-Match", "X-Request-ID", "Accept", "Content-Type"]
    ),
    value=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=200),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_header_makes_the_service_fail(auth: AuthClient, field: str, value: str) -> None:
    """The same for what a header may hold."""
    for method, path in (("GET", "/sessions"), ("GET", "/.well-known/jwks.json"), ("POST", "/logout")):
        sent = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{field}: {value.strip()}\r\n\r\n"
        assert (await exchange(auth.port, sent.encode("latin-1"))).status < 500


async def test_a_whole_walk_leaves_no_trace_of_what_was_sent(auth: AuthClient) -> None:
    """Every refusal on the way was looked through by the client: see `assert_nothing_comes_back`."""
    tokens: Tokens = await auth.new_user("canary-name-4711")
    for path in BODIES:
        await auth.post(
            path, {"username": "canary-name-4711", "password": "canary-word-4711"}, token="canary.token.4711"
        )
    assert (await auth.get("/sessions", token=tokens.access_token)).status == 200
    assert_refused(
        await auth.post("/login", {"username": "canary-name-4711", "password": PASSWORD + "!"}),
        401,
        "invalid_credentials",
    )
