"""Public signature keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037, RFC 9864).

One key has one algorithm, fixed when the key is read or made, so a token cannot choose how it is checked
(RFC 8725 section 3.1). Nothing here holds or writes a private or a symmetric key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

from shared import base64url

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MIN_RSA_BITS: Final = 2_048
"""RFC 7518 section 3.3."""
MAX_RSA_BITS: Final = 8_192
"""Ours: checking a signature of 16,384 bits costs 50 times one of 2,048."""
MIN_RSA_EXPONENT: Final = 65_537
"""NIST SP 800-56B revision 2, section 6.2; smaller ones have a bad record."""
MAX_RSA_EXPONENT: Final = 2**32 - 1
"""Ours: a longer exponent only makes each check slower."""
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1."""

valid_key_id = re.compile(r"[\x20-\x7E]{1,128}").fullmatch
"""A key id is a dictionary key and nothing else; the bound is ours."""


class SkipReason(StrEnum):
    """Why a key of a foreign set is not used. The rest of the set stays (RFC 7517 section 5)."""

    NOT_AN_OBJECT = "not_an_object"
    PRIVATE_MEMBER = "private_member"
    KEY_ID = "key_id"
    KEY_TYPE = "key_type"
    USE = "use"
    KEY_OPERATIONS = "key_operations"
    ALGORITHM = "algorithm"
    ENCODING = "encoding"
    KEY_SIZE = "key_size"
    EXPONENT = "exponent"
    POINT = "point"
    DUPLICATE_KEY_ID = "duplicate_key_id"


@dataclass(frozen=True, slots=True)
class JwkRules:
    """Which keys of a foreign set are used.

    `unlabelled_algorithm` is the one algorithm that a key without `alg` has; None skips such keys.
    """

    algorithms: frozenset[str] = frozenset({"RS256"})
    min_rsa_bits: int = MIN_RSA_BITS
    unlabelled_algorithm: str | None = None

    def __post_init__(self) -> None:
        if not self.algorithms or not self.algorithms <= _FAMILIES.keys():
            raise ValueError(f"algorithms must be some of {', '.join(ALGORITHMS)}")
        if self.unlabelled_algorithm is not None and self.unlabelled_algorithm not in self.algorithms:
            raise ValueError("the algorithm of unlabelled keys must be among the algorithms")
        if not MIN_RSA_BITS <= self.min_rsa_bits <= MAX_RSA_BITS:
            raise ValueError(f"the smallest RSA modulus must be between {MIN_RSA_BITS} and {MAX_RSA_BITS} bits")


@dataclass(frozen=True, slots=True)
class _Family:
    """What the algorithms of one kind of key have in common: its `kty`, its curve, its required members."""

    key_type: str
    curve: str | None
    members: tuple[str, ...]


_RSA = _Family("RSA", None, ("e", "n"))
_P256 = _Family("EC", "P-256", ("x", "y"))
_P384 = _Family("EC", "P-384", ("x", "y"))
_ED25519 = _Family("OKP", "Ed25519", ("x",))
_FAMILIES: Final[Mapping[str, _Family]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": _P256,
    "ES384": _P384,
    "Ed25519": _ED25519,
    "EdDSA": _ED25519,  # the older name of the same (RFC 9864 section 2.2)
}
_SIGNATURES: Final[Mapping[str, Algorithm]] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
    "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1),
    "ES384": ECAlgorithm(ECAlgorithm.SHA384, ec.SECP384R1),
    "Ed25519": OKPAlgorithm(),
    "EdDSA": OKPAlgorithm(),
}
ALGORITHMS: Final = tuple(_FAMILIES)
"""Every algorithm that can be configured; all are asymmetric."""

_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, int]]] = {
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
}
_ED25519_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PublicJwk:
    """A public key with its id and its one algorithm.

    `members` are the required members of the key type, those a thumbprint is made of. `signature_bytes` is the
    length every signature of this key has.
    """

    kid: str
    algorithm: str
    public_key: PublicKey
    members: Mapping[str, str]
    signature_bytes: int

    @classmethod
    def of(cls, public_key: PublicKey, algorithm: str = "RS256") -> PublicJwk:
        """Our own key: its id is its RFC 7638 thumbprint. ValueError when key and algorithm do not belong together."""
        members = _members_of(public_key)
        family = _FAMILIES[algorithm]
        if (members["kty"], members.get("crv")) != (family.key_type, family.curve):
            raise ValueError(f"{algorithm} is not an algorithm of this key")
        return cls(thumbprint(members), algorithm, public_key, MappingProxyType(members), _signature_bytes(public_key))

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message`; constant in what it tells, never an exception."""
        return len(signature) == self.signature_bytes and _SIGNATURES[self.algorithm].verify(
            message, self.public_key, signature
        )

    def as_json_object(self) -> dict[str, str]:
        """The key as it is published: public members only (RFC 7517 section 4)."""
        published = {**self.members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}
        if PRIVATE_MEMBERS & published.keys():
            raise AssertionError("a private member in a public key")
        return published


def thumbprint(members: Mapping[str, str]) -> str:
    """The RFC 7638 SHA-256 thumbprint of a public key, from its JWK members (others are ignored)."""
    family = next((family for family in _FAMILIES.values() if family.key_type == members.get("kty")), None)
    if family is None:
        raise ValueError("unknown key type")
    required = {"kty", *family.members, *({"crv"} if family.curve else ())}
    canonical = json.dumps({name: members[name] for name in sorted(required)}, separators=(",", ":"))
    return base64url.encode(hashlib.sha256(canonical.encode("utf-8")).digest())


def read_jwk(unverified_jwk: object, rules: JwkRules) -> PublicJwk | SkipReason:
    """Read one key of a foreign set, or say why it is not used. Unknown members are ignored (RFC 7517 section 4)."""
    if not isinstance(unverified_jwk, dict):
        return SkipReason.NOT_AN_OBJECT
    jwk: dict[str, object] = unverified_jwk
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        return SkipReason.PRIVATE_MEMBER
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not valid_key_id(kid):
        return SkipReason.KEY_ID
    if jwk.get("kty") not in ("RSA", "EC", "OKP"):
        return SkipReason.KEY_TYPE
    if "use" in jwk and jwk["use"] != "sig":
        return SkipReason.USE
    if "key_ops" in jwk and not _permits_verification(jwk["key_ops"]):
        return SkipReason.KEY_OPERATIONS
    algorithm = jwk.get("alg", rules.unlabelled_algorithm)
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        return SkipReason.ALGORITHM
    family = _FAMILIES[algorithm]
    if (jwk["kty"], jwk.get("crv") if family.curve else None) != (family.key_type, family.curve):
        return SkipReason.ALGORITHM
    members = {name: value for name in family.members if isinstance(value := jwk.get(name), str)}
    if len(members) != len(family.members):
        return SkipReason.ENCODING
    public_key = _read_public_key(family, members, rules)
    if isinstance(public_key, SkipReason):
        return public_key
    required = MappingProxyType(_members_of(public_key))
    return PublicJwk(kid, algorithm, public_key, required, _signature_bytes(public_key))


def _permits_verification(key_operations: object) -> bool:
    return isinstance(key_operations, list) and "verify" in key_operations


def _read_public_key(family: _Family, members: Mapping[str, str], rules: JwkRules) -> PublicKey | SkipReason:
    try:
        numbers = {name: base64url.decode(text) for name, text in members.items()}
    except ValueError:
        return SkipReason.ENCODING
    if family is _RSA:
        return _read_rsa(numbers["n"], numbers["e"], rules.min_rsa_bits)
    if family is _ED25519:
        if len(numbers["x"]) != _ED25519_BYTES:
            return SkipReason.ENCODING
        return _read_point(ed25519.Ed25519PublicKey.from_public_bytes, numbers["x"])
    curve, size = _CURVES[family.curve or ""]
    if len(numbers["x"]) != size or len(numbers["y"]) != size:
        return SkipReason.ENCODING  # RFC 7518 section 6.2.1.2: always the full length
    return _read_point(
        lambda point: ec.EllipticCurvePublicKey.from_encoded_point(curve, point), b"\x04" + numbers["x"] + numbers["y"]
    )


def _read_rsa(modulus: bytes, exponent: bytes, min_bits: int) -> PublicKey | SkipReason:
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    if modulus[0] == 0 or exponent[0] == 0 or n % 2 == 0:
        return SkipReason.ENCODING  # RFC 7518 section 2: the minimum number of octets; a modulus is odd
    if not min_bits <= n.bit_length() <= MAX_RSA_BITS:
        return SkipReason.KEY_SIZE
    if not MIN_RSA_EXPONENT <= e <= MAX_RSA_EXPONENT or e % 2 == 0:
        return SkipReason.EXPONENT
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        return SkipReason.ENCODING


def _read_point(load: Any, encoded: bytes) -> PublicKey | SkipReason:
    try:
        key: PublicKey = load(encoded)
    except ValueError:
        return SkipReason.POINT
    return key


def _members_of(public_key: PublicKey) -> dict[str, str]:
    if isinstance(public_key, rsa.RSAPublicKey):
        numbers = public_key.public_numbers()
        return {"kty": "RSA", "n": _encode_number(numbers.n), "e": _encode_number(numbers.e)}
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        raw = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(raw)}
    point = public_key.public_numbers()
    for name, (curve, size) in _CURVES.items():
        if curve.name == public_key.curve.name:
            x, y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
            return {"kty": "EC", "crv": name, "x": base64url.encode(x), "y": base64url.encode(y)}
    raise ValueError("a curve that no algorithm here uses")


def _encode_number(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _signature_bytes(public_key: PublicKey) -> int:
    """RSA: the modulus (RFC 8017); EC: r and s (RFC 7518 section 3.4); Ed25519: 64 (RFC 8032)."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return (public_key.key_size + 7) // 8
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return 64
    return 2 * ((public_key.curve.key_size + 7) // 8)
