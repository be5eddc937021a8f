"""Whatever ends something at the auth service, a resource server that follows its feed refuses within a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from auth_service.app import key_settings, master_keys
from auth_service.identity.administration import AccountAdministration
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.keys.administration import KeyAdministration
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from resource_service.protection import TrustedIssuer
from shared.database import Database
from tests.auth_service.conftest import auth, auth_environment, auth_settings
from tests.auth_service.running import ISSUER, NEW_PASSWORD, PASSWORD, AuthClient, Tokens
from tests.clock import FrozenClock
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer, until

__all__ = ["auth", "auth_environment", "auth_settings"]

Ending = Callable[[AuthClient, Tokens, AuthSettings], Awaitable[object]]


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def api(auth: AuthClient, clock: FrozenClock) -> AsyncIterator[Api]:
    """An application that trusts the auth service and follows its feed."""
    origin = f"http://127.0.0.1:{auth.port}"
    trusted = TrustedIssuer(ISSUER, jwks_uri=f"{origin}/.well-known/jwks.json", revocations_uri=f"{origin}/revocations")
    async with running_api(replace(resource_of(Issuer(port=1)), issuers=(trusted,)), clock) as running:
        await until(lambda: running.protection.health().issuers[0].revocations.age is not None)
        yield running


async def by_logout(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post("/logout", token=tokens.access_token)).status == 204


async def by_logout_with_the_refresh_token(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post("/logout", {"refresh_token": tokens.refresh_token})).status == 204


async def by_another_password(auth: AuthClient, _tokens: Tokens, _settings: AuthSettings) -> None:
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    other = await auth.login()
    assert (await auth.post("/password", change, token=other.access_token)).status == 204


async def by_its_owner_elsewhere(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    other = await auth.login()
    assert (await auth.call("DELETE", f"/sessions/{tokens.sid}", token=other.access_token)).status == 204


async def by_a_copied_refresh_token(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    await auth.refreshed((await auth.refreshed(tokens.refresh_token)).refresh_token)
    assert (await auth.refresh(tokens.refresh_token)).status == 400


async def by_revoking_the_access_token(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post_form("/revoke", {"token": tokens.access_token})).status == 200


async def by_revoking_the_refresh_token(auth: AuthClient, tokens: Tokens, _settings: AuthSettings) -> None:
    assert (await auth.post_form("/revoke", {"token": tokens.refresh_token})).status == 200


async def by_disabling_the_account(auth: AuthClient, tokens: Tokens, settings: AuthSettings) -> None:
    await as_operator(auth, settings, lambda administration: administration.disable(tokens.claims["sub"]))


async def by_deleting_the_account(auth: AuthClient, tokens: Tokens, settings: AuthSettings) -> None:
    await as_operator(auth, settings, lambda administration: administration.delete(tokens.claims["sub"]))


async def by_revoking_the_key(auth: AuthClient, tokens: Tokens, settings: AuthSettings) -> None:
    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    try:
        masters = await asyncio.to_thread(master_keys, settings)
        keys = KeyAdministration(SqlStorage(database), masters, key_settings(settings), auth.clock)
        await keys.revoke(tokens.header["kid"])
    finally:
        await database.close()
    # This process learns of it within five seconds and then signs the feed with the key that took over. Readiness is
    # asked behind what it reads of its keys, so that it has read them then.
    for _ in range(6):
        auth.clock.advance(1)
        await asyncio.sleep(0.001)  # whoever was woken begins
        await auth.get("/readyz")


async def as_operator(
    auth: AuthClient, settings: AuthSettings, act: Callable[[AccountAdministration], Awaitable[bool]]
) -> None:
    database = await asyncio.to_thread(Database.open, settings.database_url.reveal())
    hasher, policy = PasswordHasher(threads=1, queue_length=1), await asyncio.to_thread(PasswordPolicy, ("signet",))
    try:
        assert await act(AccountAdministration(SqlStorage(database), hasher, policy, auth.clock))
    finally:
        await hasher.close()
        await database.close()


ENDINGS: list[Ending] = [
    by_logout,
    by_logout_with_the_refresh_token,
    by_another_password,
    by_its_owner_elsewhere,
    by_a_copied_refresh_token,
    by_revoking_the_access_token,
    by_revoking_the_refresh_token,
    by_disabling_the_account,
    by_deleting_the_account,
    by_revoking_the_key,
]


async def refused_within(api: Api, token: str, seconds: float = 20.0) -> float:
    """Ask until the token is refused; how long that took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(seconds):
        while (await api.get(token=token)).status != 401:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.002)
    return loop.time() - begun


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_what_has_ended_is_refused_elsewhere(
    auth: AuthClient, api: Api, auth_settings: AuthSettings, end: Ending
) -> None:
    """The token was warm in the cache; another user's goes on, unless it was the key that was revoked."""
    tokens, other = await auth.new_user(), await auth.new_user("bob")
    for token in (tokens.access_token, other.access_token):
        assert (await api.get(token=token)).status == 200
    await end(auth, tokens, auth_settings)
    await refused_within(api, tokens.access_token)
    expected = 401 if end is by_revoking_the_key else 200
    assert (await api.get(token=other.access_token)).status == expected
    later = await auth.login("bob")
    async with asyncio.timeout(20):
        while (await api.get(token=later.access_token)).status != 200:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.05)


async def test_a_new_session_after_an_ending_is_good(auth: AuthClient, api: Api, auth_settings: AuthSettings) -> None:
    """Disabled and enabled again, signed in again: what is new is not taken for what was ended."""
    tokens = await auth.new_user()
    await by_disabling_the_account(auth, tokens, auth_settings)
    await refused_within(api, tokens.access_token)
    auth.clock.advance(1)
    await as_operator(auth, auth_settings, lambda administration: administration.enable(tokens.claims["sub"]))
    again = await auth.login()
    assert (await api.get(token=again.access_token)).status == 200
    assert (await api.get(token=tokens.access_token)).status == 401
