"""Base64url without padding, in its one canonical spelling (RFC 7515 section 2, RFC 4648 section 3.5)."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# What may stand last, by length modulo 4: the bits of the last character that no byte uses must be zero,
# or one value would have several spellings.
_LAST: tuple[frozenset[int], ...] = (
    frozenset(ALPHABET),
    frozenset(),
    frozenset(ALPHABET[::16]),
    frozenset(ALPHABET[::4]),
)
_PADDING = (b"", b"", b"==", b"=")


def encode(data: bytes) -> str:
    """`data` as base64url text."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of a canonical base64url text; raise ValueError for any other spelling or an empty one."""
    encoded = text.encode("ascii")
    if encoded.translate(None, ALPHABET):
        raise ValueError("not base64url")
    return decode_alphabetic(encoded)


def decode_alphabetic(encoded: bytes) -> bytes:
    """`decode` for a non-empty ASCII text that is already known to hold only the alphabet."""
    remainder = len(encoded) & 3
    if not encoded or encoded[-1] not in _LAST[remainder]:
        raise ValueError("not canonical base64url")
    return a2b_base64(encoded.translate(_TO_STANDARD) + _PADDING[remainder])
