"""One RSA private key in memory."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from auth_service.keys.private_key import PrivateKey
from shared.jwk import thumbprint


@pytest.mark.parametrize("bits", [2048, 3072, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_key_has_the_size_that_was_asked_for(bits: int) -> None:
    """2048, 3072 and 4096 bits can be had, with the public exponent 65537."""
    key = PrivateKey.generate(bits)
    assert key.bits == bits
    assert isinstance(key.public.public_key, RSAPublicKey)
    assert key.public.public_key.public_numbers().e == 65537


@pytest.mark.parametrize("bits", [0, 512, 1024, 2047, 8192])
def test_other_sizes_are_not_made(bits: int) -> None:
    """A smaller key is not safe (RFC 7518 section 3.3), a larger one slows every verifier down."""
    with pytest.raises(ValueError, match="2048, 3072, 4096"):
        PrivateKey.generate(bits)


def test_a_signature_is_rs256(supply: list[PrivateKey]) -> None:
    """PKCS#1 v1.5 with SHA-256 (RFC 7518 section 3.3), under the public key that is published."""
    key = supply[0]
    public_key = key.public.public_key
    assert isinstance(public_key, RSAPublicKey)
    public_key.verify(key.sign(b"message"), b"message", PKCS1v15(), SHA256())


def test_the_kid_is_the_thumbprint(supply: list[PrivateKey]) -> None:
    """RFC 7638, over the required members."""
    published = supply[0].public.as_json_object()
    assert published["kid"] == thumbprint(published)
    assert set(published) == {"kty", "n", "e", "kid", "alg", "use"}


def test_a_key_survives_its_pkcs8_form(supply: list[PrivateKey]) -> None:
    """What was written is the same key when it is read."""
    again = PrivateKey.from_pkcs8(supply[0].to_pkcs8())
    assert again.public == supply[0].public
    assert again.sign(b"message") == supply[0].sign(b"message")


def test_a_key_of_another_kind_is_not_read() -> None:
    """Only RSA keys are signed with here; anything else in the box is an error."""
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="not an RSA key"):
        PrivateKey.from_pkcs8(other)
