"""Histories: whatever happens in whatever order, a token whose ending was acknowledged is never taken again.

Two auth processes share a database; two resource servers follow one each. Between the steps either side may be
restarted, cut off or left alone, and time may pass. A step that acknowledged an ending is followed by the bound; from
then on every request with that session's tokens is refused, for as long as the tokens live.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth_service.settings import AuthSettings
from resource_service.protection import TrustedIssuer
from tests.auth_service.running import ISSUER, AuthClient, Tokens, in_database, running_auth
from tests.clock import FrozenClock
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer
from tests.wire import serve

STEPS = st.one_of(
    st.tuples(st.just("sign_in"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("refresh"), st.integers(0, 1), st.integers(0, 7)),
    st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 7)),
    st.tuples(st.just("logout"), st.integers(0, 1), st.integers(0, 7)),
    st.tuples(st.just("revoke"), st.integers(0, 1), st.integers(0, 7)),
    st.tuples(st.just("restart_auth"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("restart_resource"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("cut"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("time"), st.integers(1, 90), st.just(0)),
)


@dataclass
class Wire:
    """What stands between a resource server and its auth process; it can be cut."""

    port: int = 0
    target: int = 0
    is_cut: bool = False

    async def forward(self, request: web.Request) -> web.StreamResponse:
        if self.is_cut:
            raise web.HTTPServiceUnavailable
        url = f"http://127.0.0.1:{self.target}{request.path_qs}"
        session = request.app[SESSION]
        try:
            async with session.get(url) as answer:
                body = await answer.read()
                if self.is_cut:
                    raise web.HTTPServiceUnavailable
                return web.Response(status=answer.status, body=body, content_type=answer.content_type)
        except (OSError, TimeoutError):
            raise web.HTTPServiceUnavailable from None


SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


@dataclass
class World:
    """Everything that runs, and what was acknowledged."""

    settings: AuthSettings
    clock: FrozenClock
    auths: list[AuthClient] = field(default_factory=list)
    apis: list[Api] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    stacks: dict[str, AsyncExitStack] = field(default_factory=dict)
    sessions: list[list[Tokens]] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)

    async def start_auth(self, number: int) -> None:
        stack = self.stacks[f"auth-{number}"] = AsyncExitStack()
        client = await stack.enter_async_context(running_auth(self.settings, self.clock))
        self.auths[number : number + 1] = [client]
        self.wires[number].target = client.port

    async def start_api(self, number: int) -> None:
        origin = f"http://127.0.0.1:{self.wires[number].port}"
        trusted = TrustedIssuer(
            ISSUER, jwks_uri=f"{origin}/.well-known/jwks.json", revocations_uri=f"{origin}/revocations"
        )
        resource = replace(resource_of(Issuer(port=1)), issuers=(trusted,))
        stack = self.stacks[f"api-{number}"] = AsyncExitStack()
        api = await stack.enter_async_context(running_api(resource, self.clock, wait_for_keys=False))
        self.apis[number : number + 1] = [api]
        await self.pass_until(lambda: api.protection.health().usable)

    async def pass_until(self, condition: Any) -> None:
        """Let real time pass, and the clock with it, until the condition holds."""
        for _ in range(2_000):
            if condition():
                return
            self.clock.advance(0.02)
            await asyncio.sleep(0.005)
        raise AssertionError("it never came to be")

    async def heal(self) -> None:
        """Everything connected, every reader up to date: the bound has passed."""
        for wire in self.wires:
            wire.is_cut = False
        head = await in_database(self.settings, lambda records: records.revocations.head().seq)
        for api in self.apis:
            await self.pass_until(
                lambda api=api: (
                    api.protection.health().issuers[0].revocations.sequence >= head
                    and api.protection.health().issuers[0].revocations.failures_in_row == 0
                )
            )

    async def check(self) -> None:
        """Of all tokens there are: those that ended are refused everywhere, the others are taken while they live."""
        for number, tokens_of_session in enumerate(self.sessions):
            for tokens in tokens_of_session:
                void = number in self.ended or tokens.claims["jti"] in self.revoked
                lives = self.clock.now() < tokens.claims["exp"]
                for api in self.apis:
                    status = (await api.get(token=tokens.access_token)).status
                    if void:
                        assert status == 401, (number, tokens.claims, status)
                    elif lives:
                        assert status == 200, (number, tokens.claims, status)

    async def step(self, name: str, number: int, which: Any) -> None:
        act = getattr(self, f"_{name}")
        await act(number, which)

    async def _sign_in(self, replica: int, _which: int) -> None:
        self.sessions.append([await self.auths[replica].login()])

    async def _refresh(self, replica: int, which: int) -> None:
        live = [number for number in range(len(self.sessions)) if number not in self.ended]
        if live:
            number = live[which % len(live)]
            latest = self.sessions[number][-1]
            self.sessions[number].append(await self.auths[replica].refreshed(latest.refresh_token))

    async def _read(self, resource: int, which: int) -> None:
        if self.sessions:
            tokens = self.sessions[which % len(self.sessions)][-1]
            await self.apis[resource].get(token=tokens.access_token)

    async def _logout(self, replica: int, which: int) -> None:
        if self.sessions:
            number = which % len(self.sessions)
            body = {"refresh_token": self.sessions[number][0].refresh_token}
            assert (await self.auths[replica].post("/logout", body)).status == 204
            self.ended.add(number)

    async def _revoke(self, replica: int, which: int) -> None:
        if self.sessions:
            tokens = self.sessions[which % len(self.sessions)][-1]
            if self.clock.now() < tokens.claims["exp"]:
                assert (await self.auths[replica].post_form("/revoke", {"token": tokens.access_token})).status == 200
                self.revoked.add(tokens.claims["jti"])

    async def _restart_auth(self, replica: int, _which: int) -> None:
        await self.stacks.pop(f"auth-{replica}").aclose()
        await self.start_auth(replica)

    async def _restart_resource(self, resource: int, _which: int) -> None:
        # One that starts while it is cut off knows what it had heard of, and no more (docs/revocation.md); here the
        # wire is whole.
        self.wires[resource].is_cut = False
        await self.stacks.pop(f"api-{resource}").aclose()
        await self.start_api(resource)

    async def _cut(self, resource: int, is_cut: bool) -> None:
        self.wires[resource].is_cut = bool(is_cut)

    async def _time(self, seconds: int, _which: int) -> None:
        self.clock.advance(seconds)
        await asyncio.sleep(0.02)


async def live_through(folder: Path, steps: list[tuple[str, int, Any]]) -> None:
    settings_ = AuthSettings.load(
        {"AUTH_DATABASE_URL": f"sqlite:///{folder}/auth.sqlite3", "AUTH_REGISTRATIONS_PER_ADDRESS": "1000"}
    )
    world = World(settings_, FrozenClock())
    async with AsyncExitStack() as ground:
        session = await ground.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        for _ in range(2):
            wire = Wire()
            app = web.Application()
            app[SESSION] = session
            app.router.add_get("/{path:.*}", wire.forward)
            wire.port = await ground.enter_async_context(serve(app))
            world.wires.append(wire)
        ground.push_async_callback(_close, world)
        for number in range(2):
            await world.start_auth(number)
        await world.auths[0].register()
        for number in range(2):
            await world.start_api(number)
        for name, number, which in steps:
            await world.step(name, number, which)
            if name in ("logout", "revoke") and which % 2:
                await world.heal()
                await world.check()
        await world.heal()
        await world.check()


async def _close(world: World) -> None:
    for name in sorted(world.stacks):
        await world.stacks[name].aclose()


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=4, max_size=12))
def test_what_was_acknowledged_as_ended_stays_ended(prepared_folder: Path, steps: list[tuple[str, int, Any]]) -> None:
    """Any history of sign-ins, refreshes, endings, restarts of either side, cuts and time."""
    with tempfile.TemporaryDirectory(prefix="signet-history-") as name:
        folder = Path(name) / "auth"
        shutil.copytree(prepared_folder, folder)
        asyncio.run(live_through(folder, steps))
