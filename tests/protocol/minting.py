"""An issuer in a test's hand: keys, and tokens with any header, any claims, any bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from shared import base64url
from shared.jwk import PublicJwk
from shared.token_rules import TokenRules

NOW = 1_800_000_000.0
ISSUER = "http://localhost:8001"
AUDIENCE = "http://localhost:8002"
RULES = TokenRules(ISSUER, AUDIENCE)


class _Absent:
    """Shown by its name, so that a test is called the same in every process."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()
"""The value of a member that is to be left out."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class TestKey:
    """A private key as the encoder's `SigningKey`, with its public half."""

    __test__ = False

    private_key: PrivateKey
    algorithm: str
    public_jwk: PublicJwk

    @property
    def kid(self) -> str:
        return self.public_jwk.kid

    def sign(self, message: bytes) -> bytes:
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        signature: bytes = get_default_algorithms()[name].sign(message, self.private_key)
        return signature


@cache
def signing_key(algorithm: str = "RS256", number: int = 0) -> TestKey:
    """The key with this number, made once in a test run."""
    private_key = _private_key("RSA" if algorithm[0] in "RP" else algorithm, number)
    return TestKey(private_key, algorithm, PublicJwk.of(private_key.public_key(), algorithm))


@cache
def _private_key(kind: str, number: int) -> PrivateKey:
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    if kind in ("Ed25519", "EdDSA"):
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if kind == "ES256" else ec.SECP384R1())


def header_of(key: TestKey, **changes: Any) -> dict[str, Any]:
    return _changed({"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}, changes)


def claims_of(**changes: Any) -> dict[str, Any]:
    """The claims of a good token at NOW, with `changes`; ABSENT leaves one out."""
    claims = {
        "iss": ISSUER,
        "sub": "0190f6c2-7abc-7def-8123-456789abcdef",
        "aud": AUDIENCE,
        "client_id": "first-party",
        "iat": int(NOW) - 10,
        "exp": int(NOW) + 290,
        "jti": "a-token",
        "scope": "data:read data:write",
        "sid": "a-session",
        "auth_time": int(NOW) - 60,
        "acr": "1",
        "amr": ["pwd"],
    }
    return _changed(claims, changes)


def mint(
    *, key: TestKey | None = None, header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None
) -> str:
    """A token signed by `key`, good but for the given changes."""
    key = key or signing_key()
    return sign_bytes(_json(header_of(key, **(header or {}))), _json(claims_of(**(claims or {}))), key)


def sign_bytes(header: bytes, payload: bytes, key: TestKey | None = None) -> str:
    """A token of exactly these bytes, properly signed."""
    signing_input = f"{base64url.encode(header)}.{base64url.encode(payload)}"
    return f"{signing_input}.{base64url.encode((key or signing_key()).sign(signing_input.encode()))}"


def key_set_of(*keys: TestKey) -> bytes:
    """The published set of these keys."""
    return _json({"keys": [key.public_jwk.as_json_object() for key in keys]})


def _changed(members: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | dict(changes)).items() if value is not ABSENT}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
