"""What an item is: its owner, its name, its value, and how much of it there may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import InvalidRequest, ServiceError

MAX_NAME_CHARACTERS = 128
MAX_VALUE_BYTES = 65_536
"""The contract's 64 KiB: the largest body a PUT may have, white space included."""
NAME = re.compile(rf"[A-Za-z0-9._~-]{{1,{MAX_NAME_CHARACTERS}}}")
"""The unreserved characters of RFC 3986 section 2.3: such a name has one spelling in a URL, a log line and JSON."""
NAME_RULE = f"1 to {MAX_NAME_CHARACTERS} letters A-Z a-z, digits, and - . _ ~ (not . or .. alone); case matters"


class InvalidName(InvalidRequest):
    """The name cannot be an item's."""

    def __init__(self) -> None:
        super().__init__(f"An item's name has {NAME_RULE}.")


class QuotaExceeded(ServiceError):
    """The owner has as many items, or as many bytes, as one may have; deleting something makes room."""

    status = 409
    code = "quota_exceeded"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an item is: a subject of one issuer (RFC 9068 section 5; a subject alone is not unique)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Item:
    """One stored value: the JSON text exactly as it was sent, and the opaque part of its strong entity tag."""

    name: str
    value: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one owner may keep; bytes count the values and the names."""

    items: int
    bytes: int


def parse_name(presented_name: str) -> str:
    """Return `presented_name`, percent-decoded already, when it can be an item's name; raise InvalidName."""
    # Dot segments are removed from a URL by whoever handles it on the way (RFC 3986 section 5.2.4).
    if not NAME.fullmatch(presented_name) or presented_name in (".", ".."):
        raise InvalidName()
    return presented_name
