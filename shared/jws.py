"""A JSON object signed as a compact JWS, both ends in one file (RFC 7515 sections 3 and 7.1).

Reading is done in two steps around the key lookup, so that only an unknown key makes anybody wait:

    unverified = jws.read(body, max_length=...)           # form and header; knows no key
    members = unverified.verify(key)                      # signature, then strict JSON

What kind of object it is, and what its members must be, is for the file that owns that kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from shared import base64url
from shared.jwk import PublicJwk, valid_key_id
from shared.strict_json import strict_json_loads

# Each of them lets a token say how it is to be trusted or read, which is not for a token to say.
REFUSED_HEADER_PARAMETERS: Final = frozenset({"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"})


class SigningKey(Protocol):
    """A private key as who signs sees it: what it is called, and that it signs."""

    @property
    def kid(self) -> str: ...

    @property
    def algorithm(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class InvalidJws(ValueError):
    """Bytes that are no compact JWS of the form read here; the text of the error is a fixed word."""


def sign(token_type: str, members: Mapping[str, object], signing_key: SigningKey) -> bytes:
    """`members` signed by `signing_key`; the header says `alg`, `typ` and `kid` (RFC 8725 section 3.11)."""
    header = _header_segment(signing_key.algorithm, token_type, signing_key.kid)
    signing_input = f"{header}.{base64url.encode(_to_json(members))}".encode("ascii")
    return signing_input + b"." + base64url.encode(signing_key.sign(signing_input)).encode("ascii")


@lru_cache(maxsize=64)
def _header_segment(algorithm: str, token_type: str, kid: str) -> str:
    return base64url.encode(_to_json({"alg": algorithm, "typ": token_type, "kid": kid}))


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


class UnverifiedJws(NamedTuple):
    """A compact JWS of the right form; its signature and its members are yet unknown.

    `header` holds nothing of REFUSED_HEADER_PARAMETERS. Its `typ` is not looked at: that is for who knows the kind.
    """

    signing_input: bytes
    header: Mapping[str, Any]
    unverified_payload: bytes
    signature: bytes
    kid: str
    algorithm: str

    def verify(self, key: PublicJwk, *, walk: bool = True) -> dict[str, Any]:
        """The members, once `key` was found to have signed them; InvalidJws otherwise. `walk`: see strict_json."""
        if key.kid != self.kid or key.algorithm != self.algorithm:
            raise InvalidJws("algorithm")
        if not key.verify(self.signature, self.signing_input):
            raise InvalidJws("signature")
        return _read_object(self.unverified_payload, walk=walk)


def read(unverified_jws: bytes, *, max_length: int) -> UnverifiedJws:
    """Check form and header of at most `max_length` bytes; InvalidJws when anything is wrong."""
    if len(unverified_jws) > max_length:
        raise InvalidJws("length")
    signing_input, *segments = split(unverified_jws)
    try:
        header_bytes, payload, signature = map(base64url.decode_alphabetic, segments)
    except ValueError:
        raise InvalidJws("encoding") from None
    header = _read_object(header_bytes)
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(kid, str) or not valid_key_id(kid) or not isinstance(algorithm, str):
        raise InvalidJws("header")
    if not REFUSED_HEADER_PARAMETERS.isdisjoint(header):
        raise InvalidJws("header")
    return UnverifiedJws(signing_input, header, payload, signature, kid, algorithm)


def split(unverified_jws: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """The signing input, and the three segments: not empty, nothing but the alphabet in them; InvalidJws otherwise."""
    # All that is left without the alphabet are the two dots; several times faster than a regular expression.
    if unverified_jws.translate(None, base64url.ALPHABET) != b"..":
        raise InvalidJws("format")
    signing_input, _, signature = unverified_jws.rpartition(b".")
    header, _, payload = signing_input.partition(b".")
    if not (header and payload and signature):
        raise InvalidJws("format")
    return signing_input, header, payload, signature


def media_type(typ: str) -> str:
    """A `typ` as it is compared: in lower case, without the prefix that may be left out (RFC 7515 section 4.1.9)."""
    return typ.lower().removeprefix("application/")


def _read_object(data: bytes, *, walk: bool = True) -> dict[str, Any]:
    try:
        members = strict_json_loads(data, walk=walk)
    except ValueError:
        raise InvalidJws("json") from None
    if not isinstance(members, dict):
        raise InvalidJws("json")
    return members
