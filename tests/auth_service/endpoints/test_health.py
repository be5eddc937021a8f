"""`GET /livez`, `GET /readyz`, and the metrics listener over HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import structlog

from auth_service.settings import AuthSettings
from tests.auth_service.running import PASSWORD, AuthClient, assert_refused, assert_well_formed, running_auth
from tests.clock import FrozenClock
from tests.wire import Reply


async def test_ready_means_keys_and_database(auth: AuthClient) -> None:
    """Both conditions are shown, with the key that signs."""
    reply = await auth.get("/readyz")
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    checks = reply.json()["checks"]
    assert set(checks) == {"signing_keys", "database"}
    (jwk,) = (await auth.get("/.well-known/jwks.json")).json()["keys"]
    assert checks["signing_keys"]["kid"] == jwk["kid"]
    assert (await auth.get("/livez")).json() == {"status": "alive"}


async def test_a_database_that_is_gone_is_503_and_comes_back(auth: AuthClient, tmp_path: Path) -> None:
    """Hostile cases, Storage: not a table to read: not ready, 503 with Retry-After everywhere, alive all the same,
    and ready again without a restart."""
    tokens = await auth.new_user()
    file = tmp_path / "auth" / "auth.sqlite3"

    def rename(name: str, to: str) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute(f"ALTER TABLE {name} RENAME TO {to}")
        connection.close()

    await asyncio.to_thread(rename, "sessions", "hidden")
    for call in (
        auth.get("/sessions", token=tokens.access_token),
        auth.refresh(tokens.refresh_token),
        auth.post("/login", {"username": "alice", "password": PASSWORD}),
    ):
        assert_refused(await call, 503, "temporarily_unavailable")
    assert (await auth.get("/livez")).status == 200
    await asyncio.to_thread(rename, "hidden", "sessions")
    await auth.refreshed(tokens.refresh_token)


async def test_the_metrics_are_on_a_listener_of_their_own(auth: AuthClient) -> None:
    """The public port shows none; the metrics port shows requests by route and nothing a caller chose."""
    assert_refused(await auth.get("/metrics"), 404, "not_found")
    await auth.new_user()
    await auth.get("/canary-path-of-a-caller/x")
    await auth.get("/sessions/canary-of-a-caller")
    await auth.call("PURGE", "/login")
    text = await auth.metrics()
    assert 'signet_http_request_duration_seconds_count{method="POST",route="/login",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "process_resident_memory_bytes" in text
    for private in ("canary", "PURGE", "alice", PASSWORD):
        assert private not in text


async def test_the_metrics_listener_answers_in_the_same_form(auth: AuthClient) -> None:
    """404 and 405 are JSON with a request id there too, and the scrape is not to be stored."""
    for method, path, status in (("GET", "/", 404), ("POST", "/metrics", 405), ("GET", "/login", 404)):
        async with auth.http.request(method, f"http://127.0.0.1:{auth.metrics_port}{path}") as answer:
            reply = Reply(answer.status, answer.headers, await answer.read(), closed=False)
        assert_well_formed(reply)
        assert reply.status == status


async def test_an_access_log_is_a_setting(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """AUTH_ACCESS_LOG=true writes a line for each request, by route and without the query."""
    settings = AuthSettings.load({**auth_environment, "AUTH_ACCESS_LOG": "true"})
    async with running_auth(settings, clock) as auth:
        with structlog.testing.capture_logs() as lines:
            await auth.get("/livez?token=canary-in-a-query")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/livez", 200)
    assert "canary" not in str(lines)
