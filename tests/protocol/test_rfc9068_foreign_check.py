"""Our tokens under an independent check of RFC 9068."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from authlib.oauth2.rfc6750.errors import InvalidTokenError  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # type: ignore[import-untyped]
from joserfc.jwk import KeySet

from shared.access_token import AccessToken, encode
from shared.clock import SystemClock
from shared.scope import Scope
from tests.protocol.minting import AUDIENCE, ISSUER, signing_key


class Validator(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib has no types
    """A resource server built on Authlib."""

    def get_jwks(self) -> Any:
        published: Any = {"keys": [signing_key().public_jwk.as_json_object()]}
        return KeySet.import_key_set(published)


def token() -> AccessToken:
    now = int(SystemClock().now())
    return AccessToken(
        issuer=ISSUER,
        subject="0190f6c2-7abc-7def-8123-456789abcdef",
        audience=AUDIENCE,
        client_id="first-party",
        issued_at=now,
        expires_at=now + 300,
        token_id="a-token",
        scope=Scope.parse("data:read data:write"),
        session_id="a-session",
        auth_time=now,
        acr="1",
        amr=("pwd",),
        profile={"preferred_username": "zoë"},
    )


def check(access_token: AccessToken, audience: str = AUDIENCE) -> None:
    validator = Validator(issuer=ISSUER, resource_server=audience)
    claims = validator.authenticate_token(encode(access_token, signing_key()))
    if claims is None:
        raise InvalidTokenError
    validator.validate_token(claims, ["data:read"], None)


def test_authlib_accepts_our_tokens() -> None:
    """Header type, required claims, audience, times and scope are what another implementation expects."""
    check(token())


@pytest.mark.parametrize(
    ("change", "audience"),
    [
        ({"expires_at": 1_800_000_000 - 10**9}, AUDIENCE),
        ({}, "https://other.example"),
        ({"issuer": "https://x"}, AUDIENCE),
    ],
)
def test_authlib_would_notice(change: dict[str, Any], audience: str) -> None:
    """The same check refuses what is not good, so its consent means something."""
    with pytest.raises(Exception, match=r"(?i)invalid|expired|claim"):
        check(replace(token(), **change), audience)
