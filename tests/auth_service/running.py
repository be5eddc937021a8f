"""The auth service as a test runs it: the real composition behind the real server, and a client that looks closely.

Only the clock and the cost of a password hash are not those of production. Whatever a test asks for, `AuthClient`
checks what holds for every answer: its headers, the one form of refusal, and that nothing that was sent comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import argon2
import pytest
from aiohttp import web
from yarl import URL

from auth_service.app import open_auth_service
from auth_service.model.signing_key import KeyState
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared import base64url
from shared.database import Database
from tests.auth_service.identity.hashing import CHEAP
from tests.blocking import nothing_blocks
from tests.clock import FrozenClock
from tests.wire import Reply, serve

T = TypeVar("T")

ISSUER = "http://localhost:8001"
RESOURCE = "http://localhost:8002"
PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "battery staple horse correct"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SHORTEST_CANARY = 10
"""A shorter text that was sent may stand in an answer by chance."""
PATIENT = {
    "AUTH_FAILURES_PER_CALLER": "100",
    "AUTH_FAILURES_PER_ACCOUNT": "100",
    "AUTH_FAILURES_PER_ADDRESS": "100000",
    "AUTH_FAILURES_PER_SERVICE": "100000",
    "AUTH_REGISTRATIONS_PER_ADDRESS": "100000",
    "AUTH_REGISTRATIONS_PER_SERVICE": "100000",
}
"""For tests that are not about throttling: all their requests come from one address within one instant."""
EACH_DATABASE = pytest.mark.parametrize("auth_environment", ["sqlite", "postgresql"], indirect=True)
"""Runs a test on SQLite and on PostgreSQL, each empty."""
DEVICE_COOKIE = re.compile(
    r"(__Host-signet-device=[\w.-]{72,364}; HttpOnly; Max-Age=34560000; Path=/; SameSite=Strict; Secure"
    r"|signet-device=[\w.-]{72,364}; HttpOnly; Max-Age=34560000; Path=/; SameSite=Strict)"
)
"""The only cookie that is ever set."""
PAGE_POLICY = re.compile(
    r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; form-action 'self'; base-uri 'none'; "
    r"frame-ancestors 'none'"
)
"""What a page may do: show its own style and send its form home."""
POLL_SECONDS = 0.005
MAX_POLLS = 4_000


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """A client of one running service, of either kind."""

    http: aiohttp.ClientSession
    port: int
    metrics_port: int
    clock: FrozenClock

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `body` is bytes, or else what becomes JSON. The answer, once its form was found good."""
        fields = dict(headers or {})
        if token is not None:
            fields.setdefault("Authorization", f"Bearer {token}")
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            fields.setdefault("Content-Type", "application/json")
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.http.request(method, url, data=data, headers=fields, allow_redirects=False) as answer:
            reply = Reply(answer.status, answer.headers, await answer.read(), closed=False)
        assert_well_formed(reply, method)
        if reply.status >= 400:
            assert_nothing_comes_back(reply, [*_texts(body), *([token] if token else [])])
        return reply

    async def get(self, path: str, *, token: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.call("GET", path, token=token, headers=headers)

    async def post(self, path: str, body: object = None, *, token: str | None = None, **headers: str) -> Reply:
        return await self.call("POST", path, body=body, token=token, headers=headers)

    async def metrics(self) -> str:
        async with self.http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def pass_time(self, seconds: float) -> None:
        """Move the clock on, and wait until the service has followed."""
        self.clock.advance(seconds)
        await self.wait_until_ready()

    async def wait_until_ready(self) -> None:
        """Return once `/readyz` says so."""
        for _ in range(MAX_POLLS):
            if (await self.get("/readyz")).status == 200:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError("the service did not get ready")


@dataclass(frozen=True, slots=True)
class AuthClient(ServiceClient):
    """A client of one running auth service."""

    async def post_form(self, path: str, form: Mapping[str, str] | str) -> Reply:
        """A form: as it stands, or to be encoded."""
        encoded = form if isinstance(form, str) else aiohttp.FormData(form)().decode()
        reply = await self.call("POST", path, body=encoded.encode(), headers=FORM)
        if reply.status >= 400 and not isinstance(form, str):
            assert_nothing_comes_back(reply, form.values())
        return reply

    async def register(self, username: str = "alice", password: str = PASSWORD, **members: str) -> str:
        """A new account; its subject."""
        reply = await self.post("/register", {"username": username, "password": password, **members})
        assert reply.status == 201, reply.body
        sub: str = reply.json()["sub"]
        return sub

    async def login(self, username: str = "alice", password: str = PASSWORD, scope: str | None = None) -> Tokens:
        """Sign in; it must work."""
        asked = {} if scope is None else {"scope": scope}
        reply = await self.post("/login", {"username": username, "password": password, **asked})
        assert reply.status == 200, reply.body
        return Tokens.of(reply)

    async def new_user(self, username: str = "alice") -> Tokens:
        """Register and sign in."""
        await self.register(username)
        return await self.login(username)

    async def refresh(self, refresh_token: str, **form: str) -> Reply:
        return await self.post_form("/token", {"grant_type": "refresh_token", "refresh_token": refresh_token, **form})

    async def refreshed(self, refresh_token: str, **form: str) -> Tokens:
        """Refresh; it must work."""
        reply = await self.refresh(refresh_token, **form)
        assert reply.status == 200, reply.body
        return Tokens.of(reply)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token answer."""

    access_token: str
    refresh_token: str
    scope: str
    expires_in: int

    @classmethod
    def of(cls, reply: Reply) -> Tokens:
        """Read an answer, which must be whole and not to be stored (RFC 6749 section 5.1)."""
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Pragma"] == "no-cache"
        return cls.of_members(reply.json())

    @classmethod
    def of_members(cls, members: dict[str, Any]) -> Tokens:
        """Read an answer's body."""
        assert members.pop("token_type") == "Bearer"
        return cls(**members)

    @property
    def header(self) -> dict[str, Any]:
        return _segment(self.access_token, 0)

    @property
    def claims(self) -> dict[str, Any]:
        return _segment(self.access_token, 1)

    @property
    def sid(self) -> str:
        sid: str = self.claims["sid"]
        return sid


def _segment(token: str, number: int) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(base64url.decode(token.split(".")[number]))
    return members


@contextlib.asynccontextmanager
async def running_auth(
    settings: AuthSettings, clock: FrozenClock, *, port: int = 0, password_profile: argon2.Parameters = CHEAP
) -> AsyncIterator[AuthClient]:
    """The auth service with these settings, listening, until the block ends. Nothing of it may block the loop."""
    async with (
        open_auth_service(settings, clock, password_profile=password_profile) as service,
        serve(service.app, port) as port,
        serve(service.metrics_app) as metrics_port,
        client_session() as http,
    ):
        with nothing_blocks() as blockbuster:
            for function in blockbuster.functions.values():
                # The kernel's figures about this process: nothing is waited for.
                function.can_block_in("prometheus_client/process_collector.py", "collect")
                # The start of another service beside this one: it serves nobody yet.
                function.can_block_in("auth_service/app.py", "open_auth_service")
                function.can_block_in("resource_service/app.py", "open_resource_service")
            yield AuthClient(http, port, metrics_port, clock)


def client_session() -> aiohttp.ClientSession:
    """A client that keeps no cookie, follows nothing and waits for nothing long."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
    )


async def in_database(settings: AuthSettings, work: Callable[[Records], T]) -> T:
    """Run `work` on the service's database beside it, as an operator's command does."""
    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    try:
        return await SqlStorage(database).write(work)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def unreadable_signing_key(settings: AuthSettings) -> AsyncIterator[None]:
    """While the block runs the database holds a signing key that nobody can open: no process can follow the keys."""

    def damage(records: Records) -> None:
        key = records.signing_keys.published()[0]
        assert key.sealed is not None
        box = replace(key.sealed, box=b"\x01" + bytes(99))
        assert records.signing_keys.add(replace(key, kid="damaged", state=KeyState.PENDING, sealed=box))

    def mend(records: Records) -> None:
        damaged = records.signing_keys.find("damaged")
        assert damaged is not None
        assert records.signing_keys.replace(damaged, damaged.revoked(damaged.changed_at))

    await in_database(settings, damage)
    yield
    await in_database(settings, mend)


def assert_well_formed(reply: Reply, method: str = "GET") -> None:
    """What holds for every answer, and for every refusal (contract, "Errors")."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{8,64}", reply.headers["X-Request-ID"])
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    if is_page(reply):
        assert_well_formed_page(reply)
    else:
        assert reply.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers.getall("Server") == ["signet"]
    for cookie in reply.headers.getall("Set-Cookie", ()):
        assert DEVICE_COOKIE.fullmatch(cookie)
        assert reply.status < 400
    if reply.status == 401:
        assert reply.headers["WWW-Authenticate"]
    if reply.status in (429, 503):
        assert int(reply.headers["Retry-After"]) > 0
    if reply.status >= 400 and not _is_readiness(reply) and not is_page(reply):
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Content-Type"] == "application/json"
        if method != "HEAD":
            assert set(reply.json()) == {"error", "error_description"}
            assert re.fullmatch(r"[a-z_]+", reply.json()["error"])
            assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", reply.json()["error_description"])


def assert_well_formed_page(reply: Reply) -> None:
    """What holds for every page: never stored, never framed, nothing loaded, no script."""
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert PAGE_POLICY.fullmatch(reply.headers["Content-Security-Policy"])
    assert not re.search(rb"<script|<img|<link|\bsrc=|\bon[a-z]+=|\bstyle=|https?:", reply.body, re.IGNORECASE)


def is_page(reply: Reply) -> bool:
    """Whether the answer is for people."""
    return reply.headers.get("Content-Type", "").startswith("text/html")


def _is_readiness(reply: Reply) -> bool:
    return reply.status == web.HTTPServiceUnavailable.status_code and b'"checks"' in reply.body


def assert_refused(reply: Reply, status: int, code: str) -> None:
    """A refusal with this status and this code."""
    assert (reply.status, reply.json().get("error")) == (status, code)


def assert_nothing_comes_back(reply: Reply, sent: object) -> None:
    """No text of `sent` stands in the answer's body or headers."""
    words = reply.body.decode() + " ".join(reply.headers.values())
    for text in _texts(sent):
        assert len(text) < SHORTEST_CANARY or text not in words


def _texts(value: object) -> list[str]:
    """Every text in a JSON value; the names of members are the interface's own."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [text for item in value for text in _texts(item)]
    return []
