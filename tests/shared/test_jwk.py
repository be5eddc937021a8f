"""Public JSON Web Keys: thumbprints, publishing, and reading those of a foreign set."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shared import base64url
from shared.jwk import ALGORITHMS, PRIVATE_MEMBERS, JwkRules, PublicJwk, SkipReason, read_jwk, thumbprint
from tests.protocol.minting import ABSENT, signing_key

RFC7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE"
    "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Q"
    "vzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6"
    "WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
RFC8037_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ANY_ALGORITHM = JwkRules(frozenset(ALGORITHMS))


def published(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    members = signing_key(algorithm).public_jwk.as_json_object() | changes
    return {name: value for name, value in members.items() if value is not ABSENT}


def number(value: int) -> str:
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def test_the_thumbprint_of_rfc_7638() -> None:
    """The example of RFC 7638 section 3.1; members that are not required do not count."""
    assert thumbprint(RFC7638_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_thumbprint_of_rfc_8037() -> None:
    """The example of RFC 8037 appendix A.3, where the curve is part of the key."""
    assert thumbprint(RFC8037_KEY) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_thumbprint_needs_a_known_key_type() -> None:
    """A symmetric key has no thumbprint here."""
    with pytest.raises(ValueError, match="unknown key type"):
        thumbprint({"kty": "oct", "k": "AA"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_that_is_published_can_be_read(algorithm: str) -> None:
    """What we publish is read back as the same key, by us and by another library, and holds no private member."""
    key = signing_key(algorithm).public_jwk
    document = json.loads(json.dumps(key.as_json_object()))
    assert read_jwk(document, ANY_ALGORITHM) == key
    assert not PRIVATE_MEMBERS & document.keys()
    assert document["kid"] == thumbprint(document)
    if algorithm != "Ed25519":  # PyJWT knows the older name only
        assert jwt.PyJWK(document).key_id == key.kid


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_is_good_for_its_message_only(algorithm: str) -> None:
    """A key accepts what its private half signed, and no other message, length or empty signature."""
    key = signing_key(algorithm)
    signature = key.sign(b"message")
    assert len(signature) == key.public_jwk.signature_bytes
    assert key.public_jwk.verify(signature, b"message")
    assert not key.public_jwk.verify(signature, b"massage")
    assert not key.public_jwk.verify(b"\0" + signature, b"message")
    assert not key.public_jwk.verify(signature[:-1], b"message")
    assert not key.public_jwk.verify(b"", b"message")
    assert not key.public_jwk.verify(b"\0" * len(signature), b"message")


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "ES384"])
def test_an_algorithm_belongs_to_a_kind_of_key(algorithm: str) -> None:
    """A key cannot be made for an algorithm of another kind."""
    with pytest.raises(ValueError, match="not an algorithm of this key"):
        PublicJwk.of(signing_key("RS256").public_jwk.public_key, algorithm)


def test_a_curve_that_nothing_uses_is_no_key() -> None:
    """A P-521 key has no algorithm here."""
    with pytest.raises(ValueError, match="curve"):
        PublicJwk.of(ec.generate_private_key(ec.SECP521R1()).public_key(), "ES256")


def test_members_that_are_unknown_are_ignored() -> None:
    """RFC 7517 section 4: a certificate chain and the like do not make a key unusable."""
    assert isinstance(read_jwk(published(x5c=["MII..."], x5t="abc", extra={"a": 1}), JwkRules()), PublicJwk)


def test_the_key_id_of_the_issuer_is_kept() -> None:
    """A foreign key id need not be a thumbprint; it is a name and nothing else."""
    key = read_jwk(published(kid="../../etc/passwd"), JwkRules())
    assert isinstance(key, PublicJwk)
    assert key.kid == "../../etc/passwd"


RSA = signing_key("RS256").public_jwk.members
MODULUS = int.from_bytes(base64url.decode(RSA["n"]), "big")
SKIPPED: dict[str, tuple[object, SkipReason]] = {
    "text": ("key", SkipReason.NOT_AN_OBJECT),
    "null": (None, SkipReason.NOT_AN_OBJECT),
    "list": ([], SkipReason.NOT_AN_OBJECT),
    "private RSA key": (published(d="AQAB"), SkipReason.PRIVATE_MEMBER),
    "a prime of an RSA key": (published(p="AQAB"), SkipReason.PRIVATE_MEMBER),
    "symmetric key": ({"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0"}, SkipReason.PRIVATE_MEMBER),
    "empty symmetric key": ({"kty": "oct", "kid": "a", "alg": "HS256", "k": ""}, SkipReason.PRIVATE_MEMBER),
    "kid absent": (published(kid=ABSENT), SkipReason.KEY_ID),
    "kid a number": (published(kid=1), SkipReason.KEY_ID),
    "kid null": (published(kid=None), SkipReason.KEY_ID),
    "kid empty": (published(kid=""), SkipReason.KEY_ID),
    "kid too long": (published(kid="k" * 129), SkipReason.KEY_ID),
    "kid with a line break": (published(kid="a\n"), SkipReason.KEY_ID),
    "kid not ASCII": (published(kid="ä"), SkipReason.KEY_ID),
    "kty unknown": (published(kty="XYZ"), SkipReason.KEY_TYPE),
    "kty absent": (published(kty=ABSENT), SkipReason.KEY_TYPE),
    "kty a list": (published(kty=["RSA"]), SkipReason.KEY_TYPE),
    "use enc": (published(use="enc"), SkipReason.USE),
    "use a list": (published(use=["sig"]), SkipReason.USE),
    "key_ops without verify": (published(key_ops=["sign"]), SkipReason.KEY_OPERATIONS),
    "key_ops a text": (published(key_ops="verify"), SkipReason.KEY_OPERATIONS),
    "alg absent": (published(alg=ABSENT), SkipReason.ALGORITHM),
    "alg another": (published(alg="PS256"), SkipReason.ALGORITHM),
    "alg none": (published(alg="none"), SkipReason.ALGORITHM),
    "alg HS256": (published(alg="HS256"), SkipReason.ALGORITHM),
    "alg in lower case": (published(alg="rs256"), SkipReason.ALGORITHM),
    "alg a list": (published(alg=["RS256"]), SkipReason.ALGORITHM),
    "alg null": (published(alg=None), SkipReason.ALGORITHM),
    "n absent": (published(n=ABSENT), SkipReason.ENCODING),
    "n a number": (published(n=MODULUS), SkipReason.ENCODING),
    "n padded": (published(n=RSA["n"] + "=="), SkipReason.ENCODING),
    "n in the other alphabet": (published(n="+" + RSA["n"][1:]), SkipReason.ENCODING),
    "n with a leading zero": (published(n=base64url.encode(b"\0" + base64url.decode(RSA["n"]))), SkipReason.ENCODING),
    "n even": (published(n=number(MODULUS - 1)), SkipReason.ENCODING),
    "n empty": (published(n=""), SkipReason.ENCODING),
    "n of 1024 bits": (published(n=number(MODULUS >> 1_024 | 1)), SkipReason.KEY_SIZE),
    "n of 2047 bits": (published(n=number(MODULUS >> 1 | 1)), SkipReason.KEY_SIZE),
    "n of 16384 bits": (published(n=number(MODULUS << 14_336 | 1)), SkipReason.KEY_SIZE),
    "e = 1": (published(e=number(1)), SkipReason.EXPONENT),
    "e = 3": (published(e=number(3)), SkipReason.EXPONENT),
    "e even": (published(e=number(65_538)), SkipReason.EXPONENT),
    "e of 2^32 + 1": (published(e=number(2**32 + 1)), SkipReason.EXPONENT),
    "e not canonical": (published(e="AQAC="), SkipReason.ENCODING),
}


@pytest.mark.parametrize(("jwk", "reason"), SKIPPED.values(), ids=SKIPPED.keys())
def test_a_key_that_cannot_be_used_is_skipped(jwk: object, reason: SkipReason) -> None:
    """Each unusable key of a foreign set is skipped and the reason is said (hostile cases, JWKS fetch)."""
    assert read_jwk(jwk, JwkRules()) is reason


P256 = signing_key("ES256").public_jwk.members
OTHER_CURVES: dict[str, tuple[dict[str, Any], SkipReason]] = {
    "EC key for an RSA algorithm": (published("ES256", alg="RS256"), SkipReason.ALGORITHM),
    "RSA key for an EC algorithm": (published("RS256", alg="ES256"), SkipReason.ALGORITHM),
    "P-256 key for ES384": (published("ES256", alg="ES384"), SkipReason.ALGORITHM),
    "curve of another key type": (published("Ed25519", crv="X25519"), SkipReason.ALGORITHM),
    "not on the curve": (published("ES256", y=P256["x"]), SkipReason.POINT),
    "coordinate too short": (
        published("ES256", x=base64url.encode(base64url.decode(P256["x"])[:-1])),
        SkipReason.ENCODING,
    ),
    "Ed25519 key too long": (published("Ed25519", x=base64url.encode(b"\1" * 33)), SkipReason.ENCODING),
    "private Ed25519 key": (published("Ed25519", d="AA"), SkipReason.PRIVATE_MEMBER),
    "y absent": (published("ES256", y=ABSENT), SkipReason.ENCODING),
}


@pytest.mark.parametrize(("jwk", "reason"), OTHER_CURVES.values(), ids=OTHER_CURVES.keys())
def test_a_curve_key_that_cannot_be_used_is_skipped(jwk: dict[str, Any], reason: SkipReason) -> None:
    """A curve, an algorithm and a point belong together, and coordinates have their full length."""
    assert read_jwk(jwk, ANY_ALGORITHM) is reason


@pytest.mark.parametrize("bits", [2_048, 3_072])
def test_the_smallest_modulus_is_a_setting(bits: int) -> None:
    """A resource may ask for 3072 bits; then a key of 2048 is not used."""
    key = PublicJwk.of(rsa.generate_private_key(public_exponent=65_537, key_size=bits).public_key())
    read = read_jwk(key.as_json_object(), JwkRules(min_rsa_bits=3_072))
    assert read == (key if bits == 3_072 else SkipReason.KEY_SIZE)


def test_keys_without_alg_get_the_one_algorithm_they_are_given() -> None:
    """An issuer that labels no keys can be served: each of them has the configured algorithm and no other."""
    rules = JwkRules(frozenset({"RS256", "PS256"}), unlabelled_algorithm="RS256")
    key = read_jwk(published(alg=ABSENT), rules)
    assert isinstance(key, PublicJwk)
    assert key.algorithm == "RS256"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"algorithms": frozenset()}, "algorithms"),
        ({"algorithms": frozenset({"HS256"})}, "algorithms"),
        ({"algorithms": frozenset({"none"})}, "algorithms"),
        ({"unlabelled_algorithm": "ES256"}, "unlabelled"),
        ({"min_rsa_bits": 1_024}, "modulus"),
        ({"min_rsa_bits": 16_384}, "modulus"),
    ],
)
def test_rules_that_are_unsafe_cannot_be_made(settings: dict[str, Any], complaint: str) -> None:
    """No configuration allows a symmetric algorithm, none at all, or a weak key."""
    with pytest.raises(ValueError, match=complaint):
        JwkRules(**settings)
