"""The revocation feed's document, both ends in one file: the value, its encoding, its strict decoding.

A document is a JWS in compact form (RFC 7515) with a `typ` of its own, so it is never taken for a token nor a token
for it. It carries a piece of the feed: what was revoked after one position and up to another. `docs/revocation.md`
is the protocol for those who implement it elsewhere. Decoding is done in two steps around the key lookup:

    unverified = read_document(text)                      # form and header; knows no key
    document = unverified.verify(key, issuer)             # signature, then members
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

from shared import base64url, jws
from shared.jwk import PublicJwk

DOCUMENT_TYPE: Final = "revocations+jwt"
MEDIA_TYPE: Final = "application/revocations+jwt"
MAX_ENTRIES: Final = 8_192
"""In one document; who is further behind asks again. Ours: so many are read in some 5 ms."""
MAX_DOCUMENT_BYTES: Final = 2_097_152
"""Twice what MAX_ENTRIES take where no two of them are alike; 467 kB where all are."""
HASH_BYTES: Final = 32
MAX_SEQUENCE: Final = 2**53 - 1
"""Beyond it a JSON number is no exact integer any more (RFC 7493 section 2.2)."""

valid_mark = re.compile(r"[A-Za-z0-9_-]{1,32}").fullmatch


class RevokedKind(StrEnum):
    """What is revoked, by the claim or header parameter of the tokens that it concerns."""

    TOKEN = "jti"
    SESSION = "sid"
    ACCOUNT = "sub"
    CLIENT = "client_id"
    KEY = "kid"


def identifier_hash(identifier: str) -> bytes:
    """What stands in the feed for an identifier: who does not know it learns nothing."""
    return hashlib.sha256(identifier.encode()).digest()


@lru_cache(maxsize=1_024)
def common_identifier_hash(identifier: str) -> bytes:
    """The same for what many tokens share: the client, the key."""
    return identifier_hash(identifier)


class Revocation(NamedTuple):
    """One entry: every token of that identifier issued at or before `before`, or all of them for None, is void.

    `expires_at` is when the last token that it could concern has expired everywhere; both ends drop it then. Both
    instants are whole seconds since the epoch by the issuer's clock.
    """

    kind: RevokedKind
    identifier_hash: bytes
    before: int | None
    expires_at: int


class RevocationGroup(NamedTuple):
    """Entries that differ in nothing but the identifier that they name: how they travel and how they are kept."""

    kind: RevokedKind
    before: int | None
    expires_at: int
    identifier_hashes: Sequence[bytes]


def group(entries: Iterable[Revocation]) -> Sequence[RevocationGroup]:
    """`entries` in groups, in the order in which the first of each comes."""
    groups: dict[tuple[RevokedKind, int | None, int], list[bytes]] = {}
    for kind, hashed, before, expires_at in entries:
        groups.setdefault((kind, before, expires_at), []).append(hashed)
    return [RevocationGroup(*alike, hashes) for alike, hashes in groups.items()]


def ungroup(groups: Iterable[RevocationGroup]) -> Sequence[Revocation]:
    """The entries one by one."""
    return [
        Revocation(kind, hashed, before, expires_at) for kind, before, expires_at, hashes in groups for hashed in hashes
    ]


class Position(NamedTuple):
    """A place in the feed: a sequence number, and the mark that the feed gave it.

    Marks are random. A feed that was set back (a restored backup) gives other marks to the same numbers, and so
    recognises positions that are not its own.
    """

    seq: int
    mark: str


START: Final = Position(0, "")


@dataclass(frozen=True, slots=True)
class RevocationDocument:
    """What was revoked after the sequence number `after` and up to the position `reached`.

    `after` is 0 where the whole feed is begun. `head` is the feed's last sequence number, so there is more to ask
    for until `reached` is there. `issued_at` is when the head was read, by the issuer's clock.
    """

    issuer: str
    issued_at: int
    after: int
    reached: Position
    head: int
    groups: Sequence[RevocationGroup]

    @property
    def entries(self) -> Sequence[Revocation]:
        """The entries one by one."""
        return ungroup(self.groups)

    @property
    def count(self) -> int:
        """How many entries there are in all groups."""
        return sum(len(each.identifier_hashes) for each in self.groups)

    @property
    def is_last(self) -> bool:
        """Whether the reader now knows all that the feed knew at `issued_at`."""
        return self.reached.seq == self.head


class InvalidDocument(ValueError):
    """A text that is no document of this issuer's feed; the text of the error is a fixed word."""


def encode_document(document: RevocationDocument, signing_key: jws.SigningKey) -> bytes:
    """`document` signed by `signing_key`, in compact form."""
    members = {
        "iss": document.issuer,
        "iat": document.issued_at,
        "after": document.after,
        "seq": document.reached.seq,
        "mark": document.reached.mark,
        "head": document.head,
        "entries": [
            (kind.value, before, expires_at, base64url.encode(b"".join(hashes)))
            for kind, before, expires_at, hashes in document.groups
        ],
    }
    return jws.sign(DOCUMENT_TYPE, members, signing_key)


class UnverifiedDocument(NamedTuple):
    """A document of the right form; its signature and its members are yet unknown."""

    unverified_jws: jws.UnverifiedJws

    @property
    def kid(self) -> str:
        return self.unverified_jws.kid

    def verify(self, key: PublicJwk, issuer: str) -> RevocationDocument:
        """The document, once signature and every member were found good; InvalidDocument otherwise."""
        try:
            # Every value is looked at below, and nothing in it may be nested: no walk beforehand.
            members = self.unverified_jws.verify(key, walk=False)
        except jws.InvalidJws as error:
            raise InvalidDocument(*error.args) from None
        if members.get("iss") != issuer:
            raise InvalidDocument("issuer")
        mark = members.get("mark")
        if not isinstance(mark, str) or not valid_mark(mark):
            raise InvalidDocument("mark")
        document = RevocationDocument(
            issuer=issuer,
            issued_at=_read_integer(members.get("iat")),
            after=_read_integer(members.get("after")),
            reached=Position(_read_integer(members.get("seq")), mark),
            head=_read_integer(members.get("head")),
            groups=_read_groups(members.get("entries")),
        )
        if not document.after <= document.reached.seq <= document.head:
            raise InvalidDocument("sequence")
        return document


def read_document(unverified_document: bytes) -> UnverifiedDocument:
    """Check form and header (RFC 7515, RFC 8725 section 3.11); InvalidDocument when anything is wrong."""
    try:
        unverified_jws = jws.read(unverified_document, max_length=MAX_DOCUMENT_BYTES)
    except jws.InvalidJws as error:
        raise InvalidDocument(*error.args) from None
    if unverified_jws.header.get("typ") != DOCUMENT_TYPE:
        raise InvalidDocument("type")
    # Nothing but `alg`, `typ` and `kid` may stand there: every other one asks for something that is not done here.
    if len(unverified_jws.header) != 3:
        raise InvalidDocument("header")
    return UnverifiedDocument(unverified_jws)


def _read_groups(value: object) -> Sequence[RevocationGroup]:
    if not isinstance(value, list):
        raise InvalidDocument("entries")
    groups: list[RevocationGroup] = []
    count = 0
    for item in value:
        if not isinstance(item, list) or len(item) != 4:
            raise InvalidDocument("entry")
        name, before, expires_at, text = item
        kind = _KINDS.get(name) if isinstance(name, str) else None
        hashes = _read_hashes(text)
        count += len(hashes)
        if count > MAX_ENTRIES:
            raise InvalidDocument("entries")
        # A later kind is passed over: those who know it will heed it, and we must not lose the rest.
        if kind is not None:
            before = None if before is None else _read_integer(before)
            groups.append(RevocationGroup(kind, before, _read_integer(expires_at), hashes))
    return groups


def _read_hashes(value: object) -> Sequence[bytes]:
    try:
        joined = base64url.decode(value) if isinstance(value, str) else b""
    except ValueError:
        joined = b""
    if not joined or len(joined) % HASH_BYTES:
        raise InvalidDocument("entry")
    return [hashed for (hashed,) in _hashes.iter_unpack(joined)]


_hashes: Final = Struct(f"{HASH_BYTES}s")
_KINDS: Final = {kind.value: kind for kind in RevokedKind}


def _read_integer(value: object) -> int:
    # A bool is an int to isinstance, and none to JSON.
    if type(value) is not int or not 0 <= value <= MAX_SEQUENCE:
        raise InvalidDocument("number")
    return value
