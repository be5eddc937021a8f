"""The access token as `/login` and `/token` give it out (contract, "Access token"; RFC 9068)."""

from __future__ import annotations

import json

import pytest

from auth_service.settings import AuthSettings
from shared import base64url
from shared.access_token import AccessTokenDecoder
from shared.jwk import JwkRules, PublicJwk, read_jwk, thumbprint
from shared.token_rules import TokenRules
from tests.auth_service.running import ISSUER, PASSWORD, RESOURCE, AuthClient, Tokens, assert_refused, running_auth
from tests.clock import FrozenClock

ALWAYS = {"iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "sid", "auth_time", "acr", "amr"}
CANARY_PASSWORD = "canary-314 in every claim"


async def published_keys(auth: AuthClient) -> dict[str, PublicJwk]:
    """The key set as a resource server reads it."""
    keys = [read_jwk(jwk, JwkRules()) for jwk in (await auth.get("/.well-known/jwks.json")).json()["keys"]]
    return {key.kid: key for key in keys if isinstance(key, PublicJwk)}


async def test_the_header_is_exactly_three_members(auth: AuthClient) -> None:
    """`alg` RS256, `typ` at+jwt, and as `kid` the thumbprint of a published key; nothing else."""
    tokens = await auth.new_user()
    (jwk,) = (await auth.get("/.well-known/jwks.json")).json()["keys"]
    assert tokens.header == {"alg": "RS256", "typ": "at+jwt", "kid": jwk["kid"]}
    assert jwk["kid"] == thumbprint(jwk)


async def test_the_claims_are_exactly_those_of_the_contract(auth: AuthClient) -> None:
    """Every claim of a sign-in without scope, and its value."""
    sub = await auth.register(email="alice@example.org", name="Alice")
    auth.clock.advance(12.75)
    claims = (await auth.login()).claims
    assert set(claims) == ALWAYS
    assert claims["iss"] == ISSUER
    assert claims["sub"] == sub
    assert claims["aud"] == RESOURCE
    assert claims["client_id"] == "first-party"
    assert claims["scope"] == "data:read data:write"
    now = int(auth.clock.now())
    assert (claims["iat"], claims["exp"], claims["auth_time"]) == (now, now + 300, now)
    assert (claims["acr"], claims["amr"]) == ("1", ["pwd"])
    for name in ("jti", "sid", "sub"):
        assert len(base64url.decode(claims[name])) >= 16


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        ("data:read", set()),
        ("profile data:read", {"preferred_username", "name"}),
        ("email data:read", {"email", "email_verified"}),
        ("profile email", {"preferred_username", "name", "email", "email_verified"}),
    ],
)
async def test_claims_about_the_person_come_with_their_scope_only(
    auth: AuthClient, scope: str, opened: set[str]
) -> None:
    """Hostile cases, CVE-2026-55982: without `profile` no name, without `email` no address."""
    await auth.register("Alice", email="alice@example.org", name="Alice Liddell")
    claims = (await auth.login(scope=scope)).claims
    assert set(claims) == ALWAYS | opened
    expected = {
        "preferred_username": "Alice",
        "name": "Alice Liddell",
        "email": "alice@example.org",
        "email_verified": False,
    }
    for name in opened:
        assert claims[name] == expected[name]


async def test_what_is_not_known_about_the_person_is_left_out(auth: AuthClient) -> None:
    """No null and no empty text stands for an absent name or address."""
    await auth.register()
    claims = (await auth.login(scope="profile email")).claims
    assert set(claims) == ALWAYS | {"preferred_username"}


async def test_a_refreshed_token_says_the_same_and_is_another(auth: AuthClient) -> None:
    """Session, sign-in time and strength stay; only `iat`, `exp` and `jti` are new."""
    first = await auth.new_user()
    auth.clock.advance(20)
    second = await auth.refreshed(first.refresh_token)
    changed = {name for name in ALWAYS if first.claims[name] != second.claims[name]}
    assert changed == {"iat", "exp", "jti"}
    assert second.claims["iat"] == first.claims["iat"] + 20
    assert second.claims["exp"] == second.claims["iat"] + 300


async def test_no_two_tokens_share_an_id(auth: AuthClient) -> None:
    """`jti` is unique (RFC 9068 section 2.2)."""
    tokens = await auth.new_user()
    ids = [tokens.claims["jti"]]
    for _ in range(20):
        tokens = await auth.refreshed(tokens.refresh_token)
        ids.append(tokens.claims["jti"])
    assert len(set(ids)) == len(ids)


async def test_nothing_secret_is_in_a_token(auth: AuthClient) -> None:
    """Contract, "Access token": neither the password nor any part of its hash, nor the refresh token."""
    await auth.register(password=CANARY_PASSWORD, email="alice@example.org")
    tokens = await auth.login(password=CANARY_PASSWORD, scope="profile email data:read")
    words = json.dumps([tokens.header, tokens.claims])
    for secret in (CANARY_PASSWORD, "argon2", tokens.refresh_token, tokens.refresh_token[15:]):
        assert secret not in words
    assert base64url.encode(CANARY_PASSWORD.encode()) not in tokens.access_token


async def test_a_resource_server_accepts_it_until_it_expires(auth: AuthClient) -> None:
    """The shared decoder, with what the key set says, takes it to the last instant of its life and its leeway."""
    tokens = await auth.new_user()
    decoder = AccessTokenDecoder(TokenRules(issuer=ISSUER, audience=RESOURCE, leeway=0))
    keys = await published_keys(auth)
    for second in (0, 299.999):
        assert decoder.decode(tokens.access_token, keys, auth.clock.now() + second).subject == tokens.claims["sub"]
    with pytest.raises(Exception, match="expired"):
        decoder.decode(tokens.access_token, keys, auth.clock.now() + 300)


async def test_the_lifetime_is_a_setting(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """AUTH_ACCESS_TOKEN_SECONDS is what `exp` and `expires_in` say."""
    settings = AuthSettings.load({**auth_environment, "AUTH_ACCESS_TOKEN_SECONDS": "60"})
    async with running_auth(settings, clock) as auth:
        tokens = await auth.new_user()
    assert tokens.claims["exp"] - tokens.claims["iat"] == tokens.expires_in == 60


async def test_the_issuer_is_the_setting_whatever_the_host_header_says(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """A forged Host changes no claim."""
    settings = AuthSettings.load({**auth_environment, "AUTH_ISSUER": "https://id.example.org"})
    async with running_auth(settings, clock) as auth:
        await auth.register()
        body = {"username": "alice", "password": PASSWORD}
        reply = await auth.post("/login", body, Host="evil.example", **{"X-Forwarded-Host": "evil.example"})
    claims = Tokens.of(reply).claims
    assert claims["iss"] == "https://id.example.org"
    assert "evil" not in json.dumps(claims)


async def test_the_audience_is_the_first_resource(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """One text, never a list: the default resource's identifier."""
    resources = '{"https://api.example.org/v1": ["a"], "http://localhost:8002": ["b"]}'
    settings = AuthSettings.load({**auth_environment, "AUTH_RESOURCES": resources})
    async with running_auth(settings, clock) as auth:
        tokens = await auth.new_user()
        assert (tokens.claims["aud"], tokens.scope) == ("https://api.example.org/v1", "a")
        # Our own endpoints take a token for any of our resources.
        assert (await auth.get("/sessions", token=tokens.access_token)).status == 200


async def test_a_user_keeps_the_subject_for_ever(auth: AuthClient) -> None:
    """`sub` does not change with the password."""
    tokens = await auth.new_user()
    change = {"current_password": PASSWORD, "new_password": CANARY_PASSWORD}
    assert (await auth.post("/password", change, token=tokens.access_token)).status == 204
    assert (await auth.login(password=CANARY_PASSWORD)).claims["sub"] == tokens.claims["sub"]
    assert_refused(await auth.post("/login", {"username": "alice", "password": PASSWORD}), 401, "invalid_credentials")
