"""The resource service as a whole: what is open and what is closed, when it is ready, what it says about itself."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import structlog

import resource_service.app
from resource_service.app import open_resource_service, protected_resource
from resource_service.settings import ResourceSettings
from shared.transactions import DatabaseUnavailable
from tests.clock import FrozenClock
from tests.issuer import LocalIssuer
from tests.protocol.minting import signing_key
from tests.resource_service.running import IDENTIFIER, RunningResourceService, run_resource_service
from tests.wire import exchange

OPEN = {"/livez", "/readyz", "/openapi.json", "/.well-known/oauth-protected-resource"}


async def test_every_route_but_the_public_ones_wants_a_token(tmp_path: Path) -> None:
    """Whoever adds a route and forgets its rule has a closed one (hostile cases, CVE-2026-34457 and its kin)."""
    settings = ResourceSettings.load({"RESOURCE_DATABASE_URL": f"sqlite:///{tmp_path}/r.sqlite3"})
    async with open_resource_service(settings, FrozenClock()) as service:
        paths = {route.resource.canonical for route in service.app.router.routes() if route.resource is not None}
    assert paths == {"/userData", "/userData/{name}", "/verify", *OPEN}


async def test_public_routes_are_public(service: RunningResourceService) -> None:
    """They answer without a token, and to a bad one as well."""
    for path in OPEN:
        assert (await service.get(path)).status == 200
        assert (await service.get(path, Authorization="Bearer nonsense")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/userData/%2e%2e/livez",
        "/livez/../userData",
        "/userData/livez",
        "/userData;/livez",
        "//userData",
        "/userData?/livez",
        "/%75serData",
        "/userData/.well-known",
        "/userData#/livez",
    ],
)
@pytest.mark.parametrize("agent", ["kube-probe/1.30", "GoogleHC/1.0", "x"])
async def test_no_spelling_of_a_path_opens_a_closed_route(
    service: RunningResourceService, path: str, agent: str
) -> None:
    """Hostile cases, HTTP layer, CVE-2026-34457, -41059, -40575: no probe, prefix, suffix or dot segment opens it."""
    ann = service.caller("ann")
    await ann.put("/userData/livez", b'"private"')
    sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nX-Original-URL: /livez\r\n\r\n"
    reply = await exchange(service.port, sent.encode())
    assert reply.status in (401, 404)
    assert b"private" not in reply.body


async def test_the_metadata_names_resource_issuer_and_scopes(service: RunningResourceService) -> None:
    """RFC 9728 section 2: what a client needs to get a token for here; the challenge leads to it."""
    metadata = await (await service.get("/.well-known/oauth-protected-resource")).json()
    assert metadata == {
        "resource": IDENTIFIER,
        "authorization_servers": [service.issuer.url],
        "scopes_supported": ["data:read", "data:write"],
        "bearer_methods_supported": ["header"],
    }
    challenge = (await service.get("/userData")).headers["WWW-Authenticate"]
    assert f'resource_metadata="{IDENTIFIER}/.well-known/oauth-protected-resource"' in challenge


async def test_it_is_ready_once_it_has_the_keys(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> None:
    """Hostile cases, JWKS fetch, cold start with the issuer down: alive, not ready, 503, then well by itself."""
    issuer.published = False
    async with run_resource_service(tmp_path, issuer, clock, ready=False) as service:
        assert (await service.get("/livez")).status == 200
        ready = await service.get("/readyz")
        assert (ready.status, ready.headers["Retry-After"]) == (503, "1")
        assert (await ready.json())["checks"]["keys"]["ok"] is False
        ann = service.caller("ann")
        refused = await ann.get()
        assert (refused.status, (await refused.json())["error"]) == (503, "temporarily_unavailable")
        assert "Retry-After" in refused.headers
        issuer.published = True
        clock.advance(10)
        await service.wait_until_ready()
        assert (await ann.get()).status == 200


async def test_readiness_shows_each_condition(service: RunningResourceService) -> None:
    """Keys and database, by name, with a few figures."""
    body = await (await service.get("/readyz")).json()
    assert body["status"] == "ready"
    assert body["checks"]["database"] == {"ok": True}
    assert (body["checks"]["keys"]["ok"], body["checks"]["keys"]["keys"]) == (True, 1)


async def test_it_starts_from_the_keys_it_kept(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> None:
    """The issuer is down when the service comes back: tokens that are valid are served from the kept key set."""
    async with run_resource_service(tmp_path, issuer, clock) as first:
        ann = first.caller("ann")
        await ann.put("/userData/a", b"1")
    issuer.published = False
    async with run_resource_service(tmp_path, issuer, clock) as second:
        response = await second.get("/userData/a", Authorization=f"Bearer {ann.token}")
        assert await response.read() == b"1"
    kept = list((tmp_path / "key-sets").iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "key-sets", *kept)] == [0o700, 0o600]


async def test_a_token_of_nobody_we_trust_is_refused(service: RunningResourceService, clock: FrozenClock) -> None:
    """Another issuer, another audience, another key, a token that has expired: 401 invalid_token."""
    stranger = LocalIssuer(clock)
    stranger.url, stranger.keys = service.issuer.url, [signing_key(number=7)]
    for token in (
        service.issuer.token("ann", audience=IDENTIFIER, issuer="https://other.example"),
        service.issuer.token("ann", audience="https://other.example"),
        service.issuer.token("ann", audience=IDENTIFIER, expires_at=int(clock.now()) - 10),
        stranger.token("ann", audience=IDENTIFIER),
    ):
        response = await service.get("/userData", Authorization=f"Bearer {token}")
        assert response.status == 401
        assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


async def test_the_older_scheme_can_be_switched_off(
    service: RunningResourceService, tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock
) -> None:
    """`Authorization: JWT` is taken with the same checks, until the setting says no."""
    token = service.caller("ann").token
    assert (await service.get("/userData", Authorization=f"JWT {token}")).status == 200
    assert (await service.get("/userData", Authorization=f"JWT {token}x")).status == 401
    async with run_resource_service(tmp_path / "off", issuer, clock, ACCEPT_JWT_SCHEME="false") as strict:
        assert (await strict.get("/userData", Authorization=f"JWT {token}")).status == 401
        assert (await strict.get("/userData", Authorization=f"Bearer {token}")).status == 200


async def test_only_allowed_origins_may_read(
    service: RunningResourceService, tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock
) -> None:
    """Hostile cases, HTTP layer, CVE-2024-41657: without the setting no origin, with it exactly those, never `null`."""
    assert "Access-Control-Allow-Origin" not in (await service.get("/userData", Origin="https://app.example")).headers
    allowed = '["https://app.example"]'
    async with run_resource_service(tmp_path / "cors", issuer, clock, CORS_ORIGINS=allowed) as open_service:
        for origin, answer in (
            ("https://app.example", "https://app.example"),
            ("https://evil.example", None),
            ("https://app.example.evil.example", None),
            ("null", None),
        ):
            response = await open_service.get("/userData", Origin=origin)
            assert response.headers.get("Access-Control-Allow-Origin") == answer
            assert "Access-Control-Allow-Credentials" not in response.headers


async def test_the_metrics_are_on_their_own_listener(service: RunningResourceService) -> None:
    """Requests and keys are counted there, and the service's port does not show them."""
    await service.caller("ann").get()
    response = await service.http.get(f"http://127.0.0.1:{service.metrics_port}/metrics")
    text = await response.text()
    assert 'route="/userData",status="200"' in text
    assert "signet_protection_" in text
    assert "process_resident_memory_bytes" in text
    assert (await service.get("/metrics")).status == 404


async def test_unsafe_settings_are_said_at_the_start(tmp_path: Path) -> None:
    """What is allowed but worth a look is a warning in the log."""
    settings = ResourceSettings.load(
        {
            "RESOURCE_DATABASE_URL": f"sqlite:///{tmp_path}/r.sqlite3",
            "RESOURCE_PLAIN_HTTP_HOSTS": '["auth"]',
            "RESOURCE_JWKS_URI": "http://auth:8001/keys",
        }
    )
    with structlog.testing.capture_logs() as logs:
        async with open_resource_service(settings, FrozenClock()):
            pass
    assert {"event": "unsafe_setting", "what": "plain http is used for the host auth", "log_level": "warning"} in logs


async def test_a_database_that_is_not_there_stops_the_start() -> None:
    """It does not serve what it could not store."""
    settings = ResourceSettings.load({"RESOURCE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    with pytest.raises(DatabaseUnavailable):
        async with open_resource_service(settings, FrozenClock()):
            pytest.fail("it started")


async def test_it_runs_on_postgresql(
    tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock, postgresql_url: str
) -> None:
    """The same service on the other database."""
    async with run_resource_service(tmp_path, issuer, clock, DATABASE_URL=postgresql_url) as service:
        ann = service.caller("ann")
        tag = (await ann.put("/userData/a", b'{"x":[1]}')).headers["ETag"]
        assert (await ann.put("/userData/a", b"2", If_Match='"x"')).status == 412
        assert (await ann.put("/userData/a", b"2", If_Match=tag)).status == 204
        assert (await (await ann.get()).json())["data"] == {"a": 2}
        assert (await service.caller("bob").get("/userData/a")).status == 404


def test_settings_become_the_protection_of_the_resource() -> None:
    """Nothing that was set is lost on the way to the protection."""
    settings = ResourceSettings.load(
        {
            "RESOURCE_IDENTIFIER": "https://api.example/v1",
            "RESOURCE_ISSUER": "https://a.example",
            "RESOURCE_ALGORITHMS": '["ES256"]',
            "RESOURCE_LEEWAY_SECONDS": "7",
            "RESOURCE_MAX_TOKEN_SECONDS": "3600",
            "RESOURCE_STALE_SECONDS": "60",
            "RESOURCE_TRUSTED_ISSUERS": '[{"issuer": "https://b.example", "token_profile": "plain-jwt"}]',
            "RESOURCE_KEY_SET_FOLDER": "/srv/keys",
            "RESOURCE_REVOCATION_FOLDER": "/srv/revocations",
        }
    )
    resource = protected_resource(settings)
    first, second = resource.issuers
    assert (first.algorithms, second.algorithms) == (frozenset({"ES256"}), frozenset({"RS256"}))
    assert (first.profile.name, second.profile.name) == ("rfc9068", "plain-jwt")
    for trusted in (first, second):
        assert (trusted.leeway, trusted.max_lifetime, trusted.stale_seconds) == (7, 3600, 60)
        assert trusted.last_good_file is not None
        assert trusted.last_good_file.parent == Path("/srv/keys")
        assert trusted.kept_revocations is not None
        assert trusted.kept_revocations.parent == Path("/srv/revocations")
    assert first.last_good_file != second.last_good_file
    assert first.kept_revocations != second.kept_revocations
    assert resource.public_paths == resource_service.app.PUBLIC_PATHS
