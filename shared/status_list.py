"""The Token Status List (draft-ietf-oauth-status-list-17), both ends in one file: statuses packed into bits, the list
as a signed token, and the claim by which an access token points into one.

A list token is a JWS in compact form with a `typ` of its own, so it is never taken for an access token nor one for it.
`docs/status-list.md` says how ours are used. Decoding is done in two steps around the key lookup:

    unverified = read_list_token(body)                    # form and header; knows no key
    token = unverified.verify(key, uri, issuer=issuer)    # signature, then claims
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from shared import base64url, jws
from shared.jwk import PublicJwk

LIST_TYPE: Final = "statuslist+jwt"
MEDIA_TYPE: Final = "application/statuslist+jwt"
VALID: Final = 0
"""The status of a token that is good (section 7.1); any other refuses it."""
INVALID: Final = 1
BIT_SIZES: Final = (1, 2, 4, 8)
MAX_TOKEN_BYTES: Final = 2_097_152
MAX_PACKED_BYTES: Final = 2_097_152
"""What a list may inflate to: 16 million tokens with a bit each, 2 million with eight."""
MAX_NUMBER: Final = 2**53 - 1
"""Beyond it a JSON number is no exact integer any more (RFC 7493 section 2.2)."""
MAX_URI_LENGTH: Final = 1_024
"""Characters; ours."""


class InvalidStatus(ValueError):
    """A claim or a list that is not of the draft's form; the text of the error is a fixed word."""


class StatusReference(NamedTuple):
    """Where a token's status stands: the index `idx` in the list at `uri` (section 6.2)."""

    idx: int
    uri: str

    def as_claim(self) -> dict[str, object]:
        """The value of the `status` claim."""
        return {"status_list": {"idx": self.idx, "uri": self.uri}}


def read_status_claim(claim: object) -> StatusReference | None:
    """Read the `status` claim of a token, None where there is none; InvalidStatus for anything but one status list.

    Another mechanism is not known here, so what it says about the token cannot be: such a claim is refused, too.
    """
    if claim is None:
        return None
    reference = claim.get("status_list") if isinstance(claim, dict) else None
    if not isinstance(reference, dict):
        raise InvalidStatus("status")
    uri = reference.get("uri")
    if not isinstance(uri, str) or not 0 < len(uri) <= MAX_URI_LENGTH:
        raise InvalidStatus("uri")
    return StatusReference(_read_integer(reference.get("idx"), "idx"), uri)


class StatusList(NamedTuple):
    """The statuses of many tokens, `bits` each, packed from the least significant bit of each byte (section 4.1)."""

    bits: int
    packed: bytes

    def __len__(self) -> int:
        return len(self.packed) * 8 // self.bits

    def status_of(self, idx: int) -> int | None:
        """The status at index `idx`; None when the list is shorter, and so says nothing."""
        offset = idx * self.bits
        byte = offset >> 3
        if not 0 <= byte < len(self.packed):
            return None
        return (self.packed[byte] >> (offset & 7)) & ((1 << self.bits) - 1)


def list_of_invalid(length: int, invalid: Iterable[int]) -> StatusList:
    """A list of one bit each and `length`, a multiple of 8, in which the indices `invalid` are."""
    packed = bytearray(length // 8)
    for idx in invalid:
        packed[idx >> 3] |= INVALID << (idx & 7)
    return StatusList(1, bytes(packed))


def compress(packed: bytes) -> str:
    """`packed` as the member `lst` carries it: ZLIB (RFC 1950) in base64url."""
    return base64url.encode(zlib.compress(packed, level=9))


def inflate(lst: str) -> bytes:
    """The bytes of a member `lst`; InvalidStatus when it is damaged, cut, followed by anything, or too much."""
    try:
        compressed = base64url.decode(lst)
        inflater = zlib.decompressobj()
        packed = inflater.decompress(compressed, MAX_PACKED_BYTES + 1)
    except (ValueError, zlib.error):
        raise InvalidStatus("lst") from None
    if len(packed) > MAX_PACKED_BYTES:
        raise InvalidStatus("too large")
    if not inflater.eof or inflater.unused_data:
        raise InvalidStatus("lst")
    return packed


@dataclass(frozen=True, slots=True)
class StatusListToken:
    """A list with what its issuer says about it (section 5.1). Instants are seconds since the epoch.

    `expires_at` and `ttl`, seconds until a newer one should be asked for, may be missing.
    """

    uri: str
    issued_at: float
    expires_at: float | None
    ttl: float | None
    statuses: StatusList


def encode_list_token(token: StatusListToken, signing_key: jws.SigningKey) -> bytes:
    """`token` signed by `signing_key`, in compact form. Slow: some milliseconds for a million tokens."""
    claims = {
        "sub": token.uri,
        "iat": token.issued_at,
        "exp": token.expires_at,
        "ttl": token.ttl,
        "status_list": {"bits": token.statuses.bits, "lst": compress(token.statuses.packed)},
    }
    return jws.sign(LIST_TYPE, {name: value for name, value in claims.items() if value is not None}, signing_key)


class UnverifiedListToken(NamedTuple):
    """A list token of the right form; its signature and its claims are yet unknown."""

    unverified_jws: jws.UnverifiedJws

    @property
    def kid(self) -> str:
        return self.unverified_jws.kid

    def verify(self, key: PublicJwk, uri: str, *, issuer: str) -> StatusListToken:
        """The list at `uri`, once signature and claims were found good (section 8.3); InvalidStatus otherwise.

        Whether it is still current is for whoever has a clock.
        """
        try:
            claims = self.unverified_jws.verify(key)
        except jws.InvalidJws as error:
            raise InvalidStatus(*error.args) from None
        if claims.get("sub") != uri:
            raise InvalidStatus("sub")
        # The draft asks for none of these; what is there must be right all the same (RFC 7519 section 4.1).
        issued_at = _read_number(claims.get("iat"), "iat")
        if claims.get("iss", issuer) != issuer or "aud" in claims:
            raise InvalidStatus("claim")
        if _read_number(claims.get("nbf", 0), "nbf") > issued_at:
            raise InvalidStatus("nbf")
        return StatusListToken(
            uri=uri,
            issued_at=issued_at,
            expires_at=None if claims.get("exp") is None else _read_number(claims["exp"], "exp"),
            ttl=None if claims.get("ttl") is None else _read_ttl(claims["ttl"]),
            statuses=_read_list(claims.get("status_list")),
        )


def read_list_token(body: bytes) -> UnverifiedListToken:
    """Check form and header (RFC 7515, RFC 8725 section 3.11); InvalidStatus when anything is wrong."""
    try:
        unverified_jws = jws.read(body, max_length=MAX_TOKEN_BYTES)
    except jws.InvalidJws as error:
        raise InvalidStatus(*error.args) from None
    token_type = unverified_jws.header.get("typ")
    if not isinstance(token_type, str) or jws.media_type(token_type) != LIST_TYPE:
        raise InvalidStatus("type")
    return UnverifiedListToken(unverified_jws)


def _read_list(value: object) -> StatusList:
    if not isinstance(value, dict):
        raise InvalidStatus("status_list")
    bits, lst = value.get("bits"), value.get("lst")
    if type(bits) is not int or bits not in BIT_SIZES:
        raise InvalidStatus("bits")
    if not isinstance(lst, str):
        raise InvalidStatus("lst")
    return StatusList(bits, inflate(lst))


def _read_integer(value: object, name: str) -> int:
    # A bool is an int to isinstance, and none to JSON.
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise InvalidStatus(name)
    return value


def _read_number(value: object, name: str) -> float:
    if (type(value) is not int and type(value) is not float) or not 0 <= value <= MAX_NUMBER:
        raise InvalidStatus(name)
    return value


def _read_ttl(value: object) -> float:
    ttl = _read_number(value, "ttl")
    if ttl == 0:
        raise InvalidStatus("ttl")
    return ttl
