"""Our tokens and our key set under other people's code, as a resource server that is not ours would use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # type: ignore[import-untyped]
from joserfc import jwt as jose_jwt
from joserfc.jwk import KeySet

from tests.auth_service.running import Tokens
from tests.contract.running import BothServices

Check = Callable[[BothServices, KeySet, str], dict[str, Any]]


def with_pyjwt(both: BothServices, _keys: KeySet, token: str) -> dict[str, Any]:
    """PyJWT with a key set that it fetches itself."""
    key = jwt.PyJWKClient(f"{both.issuer}/.well-known/jwks.json").get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["RS256"],
        audience=both.identifier,
        issuer=both.issuer,
        options={"require": ["iss", "sub", "aud", "exp", "iat", "jti"]},
    )
    return claims


def with_joserfc(both: BothServices, keys: KeySet, token: str) -> dict[str, Any]:
    """joserfc, with the claims required by value."""
    decoded = jose_jwt.decode(token, keys, algorithms=["RS256"])
    registry = jose_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": both.issuer},
        aud={"essential": True, "value": both.identifier},
        exp={"essential": True},
        client_id={"essential": True, "value": "first-party"},
    )
    registry.validate(decoded.claims)
    assert decoded.header["typ"] == "at+jwt"
    return decoded.claims


def with_authlib(both: BothServices, keys: KeySet, token: str) -> dict[str, Any]:
    """Authlib's validator of RFC 9068."""

    class Validator(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib has no types
        def get_jwks(self) -> Any:
            return keys

    validator = Validator(issuer=both.issuer, resource_server=both.identifier)
    claims = validator.authenticate_token(token)
    assert claims is not None
    validator.validate_token(claims, ["data:read"], None)
    return dict(claims)


@pytest.mark.parametrize("check", [with_pyjwt, with_joserfc, with_authlib])
async def test_another_implementation_takes_our_tokens_and_no_forged_ones(both: BothServices, check: Check) -> None:
    """With what is published and nothing else: the claims come out as they are, and a changed token is refused."""
    await both.auth.register("alice", email="alice@example.org", name="Alice")
    signed_in = await both.auth.login(scope="data:read profile email")
    keys = KeySet.import_key_set((await both.auth.get("/.well-known/jwks.json")).json())
    for tokens in (signed_in, await both.auth.refreshed(signed_in.refresh_token)):
        assert await asyncio.to_thread(check, both, keys, tokens.access_token) == tokens.claims
    for forged in forgeries(signed_in):
        with pytest.raises(Exception, match=r"(?i)signature|decode|invalid|assert|claims"):
            await asyncio.to_thread(check, both, keys, forged)


def forgeries(tokens: Tokens) -> list[str]:
    header, claims, signature = tokens.access_token.split(".")
    return [
        f"{header}.{claims}.{signature[:-6]}AAAAAA",
        f"{header}.{claims[:-6]}AAAAAA.{signature}",
        f"{header}.{claims}.",
    ]
