"""`GET /.well-known/jwks.json` over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from auth_service.keys.schedule import KeySettings
from auth_service.settings import AuthSettings
from shared.jwk import JwkRules, PublicJwk, read_jwk, thumbprint
from tests.auth_service.running import (
    EACH_DATABASE,
    MAX_POLLS,
    POLL_SECONDS,
    AuthClient,
    assert_refused,
    running_auth,
    unreadable_signing_key,
)
from tests.clock import FrozenClock
from tests.wire import Reply

JWKS = "/.well-known/jwks.json"


async def test_the_keys_are_public_and_whole(auth: AuthClient) -> None:
    """The members that a verifier needs, each exactly; no private one (RFC 7517 section 4, RFC 7518 section 6.3.1)."""
    (jwk,) = (await auth.get(JWKS)).json()["keys"]
    assert set(jwk) == {"kty", "n", "e", "kid", "alg", "use"}
    assert (jwk["kty"], jwk["e"], jwk["alg"], jwk["use"]) == ("RSA", "AQAB", "RS256", "sig")
    assert jwk["kid"] == thumbprint(jwk)
    key = read_jwk(jwk, JwkRules())
    assert isinstance(key, PublicJwk)
    assert key.signature_bytes == 256


async def test_it_may_be_kept_for_five_minutes_and_read_from_anywhere(auth: AuthClient) -> None:
    """The contract's headers."""
    reply = await auth.get(JWKS, headers={"Origin": "https://app.example"})
    assert reply.headers["Content-Type"] == "application/jwk-set+json"
    assert reply.headers["Cache-Control"] == "public, max-age=300"
    assert reply.headers["ETag"].startswith('"')
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in reply.headers


async def test_who_has_it_is_told_so(auth: AuthClient) -> None:
    """304 without a body for the tag, a weak spelling of it, a list that holds it, `*` (RFC 9110 section 13.1.2)."""
    first = await auth.get(JWKS)
    tag = first.headers["ETag"]
    for presented in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = await auth.get(JWKS, headers={"If-None-Match": presented})
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["ETag"] == tag
        assert reply.headers["Cache-Control"] == "public, max-age=300"
    for presented in ('"other"', tag.strip('"'), tag[:-2] + '"', "", '"', "W/"):
        assert (await auth.get(JWKS, headers={"If-None-Match": presented})).body == first.body


@pytest.mark.parametrize("bits", [3072, pytest.param(4096, marks=pytest.mark.slow)])
async def test_the_size_of_new_keys_is_a_setting(
    tmp_path_factory: pytest.TempPathFactory, clock: FrozenClock, bits: int
) -> None:
    """AUTH_KEY_BITS holds from the first key on."""
    url = f"sqlite:///{tmp_path_factory.mktemp('large')}/auth/auth.sqlite3"
    settings = AuthSettings.load({"AUTH_DATABASE_URL": url, "AUTH_KEY_BITS": str(bits)})
    async with running_auth(settings, clock) as auth:
        (jwk,) = (await auth.get(JWKS)).json()["keys"]
    key = read_jwk(jwk, JwkRules())
    assert isinstance(key, PublicJwk)
    assert key.signature_bytes == bits // 8


@EACH_DATABASE
async def test_a_restart_and_a_second_process_have_the_same_key(
    auth_settings: AuthSettings, clock: FrozenClock
) -> None:
    """The key set, its tag and the signer are the database's, not the process's."""
    async with running_auth(auth_settings, clock) as auth:
        first = await auth.get(JWKS)
        tokens = await auth.new_user()
        async with running_auth(auth_settings, clock) as second:
            assert (await second.get(JWKS)).body == first.body
            assert (await second.login()).header == tokens.header
    async with running_auth(auth_settings, clock) as auth:
        again = await auth.get(JWKS)
        assert (again.body, again.headers["ETag"]) == (first.body, first.headers["ETag"])
        assert (await auth.get("/sessions", token=tokens.access_token)).status == 200


async def test_a_rotation_publishes_the_next_key_before_it_signs(auth: AuthClient) -> None:
    """Both keys are in the set, the tag changes, and the old key signs until every cache can have the new one."""
    schedule = KeySettings()
    tokens = await auth.new_user()
    first = await auth.get(JWKS)
    await auth.pass_time(schedule.rotation_seconds - schedule.propagation_seconds + 1)
    both = await poll(auth, JWKS, lambda reply: len(reply.json()["keys"]) == 2)
    assert both.headers["ETag"] != first.headers["ETag"]
    assert (await auth.login()).header == tokens.header
    (successor,) = {key["kid"] for key in both.json()["keys"]} - {tokens.header["kid"]}
    await auth.pass_time(schedule.propagation_seconds + 1)
    await poll(auth, "/readyz", lambda reply: reply.json()["checks"]["signing_keys"]["kid"] == successor)
    assert (await auth.login()).header["kid"] == successor
    # What the old key signed is good as long as it says.
    assert (await auth.get(JWKS)).json() == both.json()


async def poll(auth: AuthClient, path: str, holds: Callable[[Reply], bool]) -> Reply:
    """The answer, once `holds`; keys are made on a thread."""
    for _ in range(MAX_POLLS):
        reply = await auth.get(path)
        if holds(reply):
            return reply
        auth.clock.advance(5)
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError(path)


async def test_it_is_not_served_when_it_cannot_be_vouched_for(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """503 with Retry-After rather than keys that may have been revoked; so are access tokens that would need them."""
    tokens = await auth.new_user()
    async with unreadable_signing_key(auth_settings):
        auth.clock.advance(300)
        assert (await auth.get(JWKS)).status == 200
        auth.clock.advance(1)
        assert_refused(await auth.get(JWKS), 503, "temporarily_unavailable")
        reply = await auth.get("/sessions", token=tokens.access_token)
        assert_refused(reply, 503, "temporarily_unavailable")
    await auth.pass_time(5)
    assert (await auth.get(JWKS)).status == 200
