"""A compact JWS: what was signed comes back, and no other form is read. The files that own a kind test the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared import base64url, jws
from tests.protocol.minting import sign_bytes, signing_key

KEY = signing_key()
MEMBERS = {"iss": "https://login.example", "n": 1, "text": "é"}
SIGNED = jws.sign("example+jwt", MEMBERS, KEY)


def read(unverified_jws: bytes) -> jws.UnverifiedJws:
    return jws.read(unverified_jws, max_length=2_000)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_what_was_signed_comes_back(algorithm: str) -> None:
    """Under the type it was signed with, and by the key that it names."""
    key = signing_key(algorithm)
    unverified = read(jws.sign("example+jwt", MEMBERS, key))
    assert unverified.header == {"alg": algorithm, "typ": "example+jwt", "kid": key.kid}
    assert unverified.verify(key.public_jwk) == MEMBERS


def test_the_length_is_bounded() -> None:
    """To the byte, and before anything is looked at."""
    assert jws.read(SIGNED, max_length=len(SIGNED)).kid == KEY.kid
    with pytest.raises(jws.InvalidJws, match="length"):
        jws.read(SIGNED, max_length=len(SIGNED) - 1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"..",
        b"a.b",
        b"e30..e30",
        b".e30.e30",
        b"e30.e30.",
        SIGNED + b".e30",
        SIGNED + b"=",
        SIGNED + b"\n",
        b"\xff",
    ],
)
def test_anything_but_three_segments_is_refused(text: bytes) -> None:
    """RFC 7515 section 7.1: three parts, none of them empty here, and nothing but the alphabet."""
    with pytest.raises(jws.InvalidJws, match="format"):
        jws.split(text)
    with pytest.raises(jws.InvalidJws, match="format"):
        read(text)


def test_another_spelling_is_refused() -> None:
    """One JWS has one text: the bits that no byte uses are zero."""
    header, payload, signature = SIGNED.split(b".")
    last = base64url.ALPHABET[base64url.ALPHABET.index(signature[-1:]) + 1 :][:1]
    with pytest.raises(jws.InvalidJws, match="encoding"):
        read(b".".join([header, payload, signature[:-1] + last]))


@pytest.mark.parametrize(
    "change",
    [{"kid": None}, {"kid": "x" * 129}, {"alg": 1}, *({name: "x"} for name in sorted(jws.REFUSED_HEADER_PARAMETERS))],
)
def test_another_header_is_refused(change: dict[str, Any]) -> None:
    """Without a key id or an algorithm, or with what no token may say of itself."""
    header = {"alg": "RS256", "typ": "example+jwt", "kid": KEY.kid, **change}
    with pytest.raises(jws.InvalidJws, match="header"):
        read(sign_bytes(json.dumps(header).encode(), b"{}", KEY).encode())


@pytest.mark.parametrize("text", [b"[]", b"null", b'{"a":1,"a":2}', b"\xff", b"{}{}"])
def test_only_strict_objects_are_read(text: bytes) -> None:
    """Header and payload alike; the payload is read only when its signature was found good."""
    header = json.dumps({"alg": "RS256", "typ": "example+jwt", "kid": KEY.kid}).encode()
    with pytest.raises(jws.InvalidJws, match="json"):
        read(sign_bytes(text, b"{}", KEY).encode())
    unverified = read(sign_bytes(header, text, KEY).encode())
    with pytest.raises(jws.InvalidJws, match="json"):
        unverified.verify(KEY.public_jwk)
    with pytest.raises(jws.InvalidJws, match="signature"):
        unverified._replace(signature=bytes(256)).verify(KEY.public_jwk)


def test_the_key_is_the_one_named() -> None:
    """RFC 8725 section 3.1: neither another key nor another algorithm of the same."""
    with pytest.raises(jws.InvalidJws, match="algorithm"):
        read(SIGNED).verify(signing_key("RS256", 1).public_jwk)
    with pytest.raises(jws.InvalidJws, match="algorithm"):
        read(SIGNED)._replace(algorithm="RS512").verify(KEY.public_jwk)


@pytest.mark.parametrize("typ", ["example+jwt", "EXAMPLE+JWT", "application/example+jwt", "Application/Example+JWT"])
def test_types_are_compared_as_media_types(typ: str) -> None:
    """RFC 7515 section 4.1.9, RFC 2045 section 5.1."""
    assert jws.media_type(typ) == "example+jwt"
