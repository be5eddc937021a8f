"""Our status lists, followed by a resource server that knows no feed: what has ended is refused within the ttl."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from auth_service.revocations.status_lists import LIFETIME_SECONDS, TTL_SECONDS
from auth_service.settings import AuthSettings
from resource_service.app import open_resource_service
from resource_service.protection import TrustedIssuer
from resource_service.protection.revocation_feed import FeedState
from resource_service.settings import ResourceSettings
from tests.auth_service.conftest import auth_environment, prepared_databases, prepared_folder
from tests.auth_service.running import EACH_DATABASE, RESOURCE, AuthClient, ServiceClient, client_session, running_auth
from tests.clock import FrozenClock
from tests.contract.test_revocation import ENDINGS, Ending, by_revoking_the_access_token, by_revoking_the_key
from tests.end_to_end.deployment import free_ports
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer, until
from tests.wire import serve

__all__ = ["auth_environment", "prepared_databases", "prepared_folder"]

IN_A_LIST = [end for end in ENDINGS if end not in (by_revoking_the_access_token, by_revoking_the_key)]
"""What ends a session; what ends one token or a key is not in a list of sessions."""


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def auth_settings(auth_environment: dict[str, str]) -> AuthSettings:
    """Where it is reached is also its name: tokens name addresses."""
    (port,) = free_ports(1)
    changes = {"AUTH_PORT": str(port), "AUTH_STATUS_LIST": "true", "AUTH_ACCESS_TOKEN_SECONDS": "900"}
    return AuthSettings.load({**auth_environment, **changes})


@pytest.fixture
async def auth(auth_settings: AuthSettings, clock: FrozenClock) -> AsyncIterator[AuthClient]:
    async with running_auth(auth_settings, clock, port=auth_settings.port) as client:
        yield client


def trusted_by_lists(settings: AuthSettings) -> TrustedIssuer:
    """The issuer without its feed."""
    jwks_uri = f"{settings.issuer}/.well-known/jwks.json"
    return TrustedIssuer(settings.issuer, jwks_uri=jwks_uri, status_list_prefix=f"{settings.issuer}/statuslists/")


@contextlib.asynccontextmanager
async def running_reader(
    settings: AuthSettings, clock: FrozenClock, *, fail_closed: bool = False
) -> AsyncIterator[Api]:
    resource = replace(
        resource_of(Issuer(port=1)), issuers=(trusted_by_lists(settings),), revocation_fail_closed=fail_closed
    )
    async with running_api(resource, clock) as api:
        assert api.protection.health().issuers[0].revocations.state is FeedState.NONE
        yield api


async def pass_time(api: Api, clock: FrozenClock, seconds: float, auth: AuthClient | None = None) -> None:
    """Move the clock on in steps, so that what is due meanwhile is done meanwhile, at the issuer too when it runs."""
    for _ in range(int(seconds)):
        await step(clock, auth)
        await until(lambda: is_idle(api))


async def step(clock: FrozenClock, auth: AuthClient | None) -> None:
    """One second. Readiness is asked behind what the issuer reads of its keys, so that it has read them then."""
    clock.advance(1)
    await asyncio.sleep(0.001)  # whoever was woken begins
    if auth is not None:
        await auth.get("/readyz")


def is_idle(api: Api) -> bool:
    lists = api.protection.health().issuers[0].status_lists
    return lists.fetches == lists.taken_in + sum(lists.faults.values())


@EACH_DATABASE
@pytest.mark.parametrize("fail_closed", [False, True], ids=["open", "closed"])
async def test_a_session_that_was_logged_out_is_refused_within_the_ttl(
    auth: AuthClient, auth_settings: AuthSettings, clock: FrozenClock, fail_closed: bool
) -> None:
    """Without the feed, and without a request that waits; another session goes on, a new one is good at once."""
    async with running_reader(auth_settings, clock, fail_closed=fail_closed) as api:
        tokens, other = await auth.new_user(), await auth.new_user("bob")
        for token in (tokens.access_token, other.access_token):
            assert (await api.get(token=token)).status == 200
        assert (await auth.post("/logout", token=tokens.access_token)).status == 204
        await pass_time(api, clock, TTL_SECONDS, auth)
        assert (await api.get(token=tokens.access_token)).status == 401
        assert (await api.get(token=other.access_token)).status == 200
        assert (await api.get(token=(await auth.login()).access_token)).status == 200
        # Until its tokens have expired by themselves.
        await pass_time(api, clock, 900 - TTL_SECONDS - 1, auth)
        assert (await api.get(token=tokens.access_token)).status == 401
        assert api.protection.health().refusals["revoked"] == 2  # type: ignore[index]
        assert api.protection.health().issuers[0].status_lists.faults == {}


@pytest.mark.parametrize("end", IN_A_LIST, ids=lambda end: end.__name__)
async def test_whatever_ends_a_session_is_heard(
    auth: AuthClient, auth_settings: AuthSettings, clock: FrozenClock, end: Ending
) -> None:
    """As it is of the feed, only later."""
    async with running_reader(auth_settings, clock) as api:
        tokens = await auth.new_user()
        assert (await api.get(token=tokens.access_token)).status == 200
        await end(auth, tokens, auth_settings)
        await pass_time(api, clock, TTL_SECONDS, auth)
        assert (await api.get(token=tokens.access_token)).status == 401


async def test_an_issuer_that_is_down_is_lived_through(auth_settings: AuthSettings, clock: FrozenClock) -> None:
    """What was known holds; a list that has ended vouches for nobody where that is the mode, and recovers."""
    async with contextlib.AsyncExitStack() as both:
        issuer = contextlib.AsyncExitStack()
        both.push_async_callback(issuer.aclose)
        auth = await issuer.enter_async_context(running_auth(auth_settings, clock, port=auth_settings.port))
        api = await both.enter_async_context(running_reader(auth_settings, clock, fail_closed=True))
        good, ended = await auth.new_user(), await auth.login()
        await auth.post("/logout", token=ended.access_token)
        assert (await api.get(token=good.access_token)).status == 200
        assert (await api.get(token=ended.access_token)).status == 401
        await issuer.aclose()
        await pass_time(api, clock, TTL_SECONDS + 20)
        assert (await api.get(token=good.access_token)).status == 200
        await pass_time(api, clock, LIFETIME_SECONDS - TTL_SECONDS)
        assert (await api.get(token=good.access_token)).status == 503
        assert (await api.get(token=ended.access_token)).status == 401
        async with running_auth(auth_settings, clock, port=auth_settings.port) as again:
            await pass_time(api, clock, 61, again)
            assert (await api.get(token=good.access_token)).status == 200
            assert (await api.get(token=ended.access_token)).status == 401


async def test_the_resource_service_follows_lists_by_its_settings(
    auth: AuthClient, auth_settings: AuthSettings, clock: FrozenClock, tmp_path: Path
) -> None:
    """RESOURCE_STATUS_LIST_PREFIX, with a key set of its own address and so without the feed."""
    (port,) = free_ports(1)
    settings = ResourceSettings.load(
        {
            "RESOURCE_PORT": str(port),
            "RESOURCE_IDENTIFIER": RESOURCE,
            "RESOURCE_ISSUER": auth_settings.issuer,
            "RESOURCE_JWKS_URI": f"{auth_settings.issuer}/.well-known/jwks.json",
            "RESOURCE_STATUS_LIST_PREFIX": f"{auth_settings.issuer}/statuslists",
            "RESOURCE_REVOCATION_MODE": "closed",
            "RESOURCE_DATABASE_URL": f"sqlite:///{tmp_path}/resource/resource.sqlite3",
        }
    )
    async with (
        open_resource_service(settings, clock) as service,
        serve(service.app, port) as port,
        serve(service.metrics_app) as metrics_port,
        client_session() as http,
    ):
        resource = ServiceClient(http, port, metrics_port, clock)
        await resource.wait_until_ready()
        tokens = await auth.new_user()
        assert (await resource.get("/userData", token=tokens.access_token)).status == 200
        await auth.post("/logout", token=tokens.access_token)
        for _ in range(TTL_SECONDS):
            await step(clock, auth)
        async with asyncio.timeout(30):
            while (await resource.get("/userData", token=tokens.access_token)).status != 401:
                await step(clock, auth)
        assert 'signet_protection_status_lists{issuer="' in await resource.metrics()
