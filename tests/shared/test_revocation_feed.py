"""The revocation feed's document: what it says comes back, and nothing else is read."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import base64url
from shared.access_token import AccessTokenDecoder
from shared.bearer import InvalidToken
from shared.revocation_feed import (
    MAX_DOCUMENT_BYTES,
    MAX_ENTRIES,
    InvalidDocument,
    Position,
    Revocation,
    RevocationDocument,
    RevokedKind,
    encode_document,
    group,
    identifier_hash,
    read_document,
    ungroup,
)
from shared.token_rules import PLAIN_JWT, TokenRules
from tests.protocol.minting import ABSENT, AUDIENCE, ISSUER, RULES, mint, sign_bytes, signing_key

NOW = 1_800_000_000
KEY = signing_key()
ENTRY = Revocation(RevokedKind.SESSION, identifier_hash("a-session"), None, NOW + 1_200)
DOCUMENT = RevocationDocument(ISSUER, NOW, 4, Position(5, "mark"), 9, group([ENTRY]))
HEADER = {"alg": "RS256", "typ": "revocations+jwt", "kid": KEY.kid}

entries = st.builds(
    Revocation,
    st.sampled_from(RevokedKind),
    st.binary(min_size=32, max_size=32),
    st.none() | st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
)


def members(**changes: Any) -> dict[str, Any]:
    hashed = base64url.encode(ENTRY.identifier_hash)
    good = {"iss": ISSUER, "iat": NOW, "after": 4, "seq": 5, "mark": "mark", "head": 9}
    everything = {**good, "entries": [["sid", None, NOW + 1_200, hashed]], **changes}
    return {name: value for name, value in everything.items() if value is not ABSENT}


def signed(header: dict[str, Any], payload: object) -> bytes:
    return sign_bytes(json.dumps(header).encode(), json.dumps(payload).encode(), KEY).encode()


def test_a_document_comes_back_as_it_was() -> None:
    """Encoded, signed, read, verified: the same value."""
    assert read_document(encode_document(DOCUMENT, KEY)).verify(KEY.public_jwk, ISSUER) == DOCUMENT
    assert read_document(signed(HEADER, members())).verify(KEY.public_jwk, ISSUER) == DOCUMENT


@given(st.lists(entries, max_size=20))
def test_any_entries_come_back(some: list[Revocation]) -> None:
    """Every kind and every instant that a JSON integer holds exactly."""
    document = RevocationDocument(ISSUER, NOW, 0, Position(20, "m"), 20, group(some))
    read = read_document(encode_document(document, KEY)).verify(KEY.public_jwk, ISSUER)
    assert read == document
    assert read.count == len(some)
    assert Counter(ungroup(read.groups)) == Counter(some)


def test_the_largest_document_fits() -> None:
    """As many entries as there may be, no two alike and each as long as it can be, stay well below the limit."""
    large = [Revocation(RevokedKind.CLIENT, bytes(range(32)), 10**10 + n, 10**10) for n in range(MAX_ENTRIES)]
    encoded = encode_document(RevocationDocument(ISSUER, NOW, 0, Position(5, "m"), 9, group(large)), KEY)
    assert len(encoded) < MAX_DOCUMENT_BYTES * 0.6
    assert len(read_document(encoded).verify(KEY.public_jwk, ISSUER).groups) == MAX_ENTRIES


@pytest.mark.parametrize("rules", [RULES, TokenRules(ISSUER, AUDIENCE, profile=PLAIN_JWT)], ids=["rfc9068", "plain"])
def test_a_document_is_no_access_token(rules: TokenRules) -> None:
    """RFC 8725 section 3.11: not even with all the claims of one."""
    claims = json.loads(base64url.decode(mint().split(".")[1]))
    for text in (encode_document(DOCUMENT, KEY), signed(HEADER, members() | claims)):
        with pytest.raises(InvalidToken):
            AccessTokenDecoder(rules).decode(text.decode(), {KEY.kid: KEY.public_jwk}, NOW)


def test_an_access_token_is_no_document() -> None:
    """Nor the other way round."""
    with pytest.raises(InvalidDocument, match="type"):
        read_document(mint().encode())


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "application/revocations+jwt"},
        {"typ": ABSENT},
        {"alg": ABSENT},
        {"alg": 1},
        {"kid": ABSENT},
        {"kid": "x" * 129},
        {"crit": ["b64"]},
        {"jku": "https://evil.example"},
        {"zip": "DEF"},
    ],
)
def test_a_header_of_another_form_is_refused(header: dict[str, Any]) -> None:
    """Exactly the three parameters, each of its form."""
    changed = {name: value for name, value in (HEADER | header).items() if value is not ABSENT}
    with pytest.raises(InvalidDocument):
        read_document(signed(changed, members()))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "rs256"])
def test_the_key_says_the_algorithm(algorithm: str) -> None:
    """RFC 8725 section 3.1: one key, one algorithm."""
    with pytest.raises(InvalidDocument, match="algorithm"):
        read_document(signed(HEADER | {"alg": algorithm}, members())).verify(KEY.public_jwk, ISSUER)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": ISSUER + "/"},
        {"iss": ABSENT},
        {"iat": "1"},
        {"iat": True},
        {"iat": 1.5},
        {"after": -1},
        {"after": 6},
        {"seq": 10},
        {"seq": 2**53},
        {"mark": ""},
        {"mark": "a.b"},
        {"mark": 1},
        {"head": ABSENT},
        {"entries": ABSENT},
        {"entries": {}},
        {"entries": [[]]},
        {"entries": [["sid", None, NOW, "AAAA"]]},
        {"entries": [["sid", None, NOW, ""]]},
        {"entries": [["sid", None, NOW, 1]]},
        {"entries": [["sid", None, NOW, ["A" * 43]]]},
        {"entries": [["sid", "now", NOW, "A" * 43]]},
        {"entries": [["sid", None, None, "A" * 43]]},
        {"entries": [["sid", None, NOW, "A" * 43, 1]]},
        {"entries": [["sid", None, NOW, "A" * 42 + "B"]]},
        {"entries": [["sid", None, NOW, "A" * 84]]},
        {"entries": [["sid", None, NOW, "A" * 42 + "="]]},
        {"entries": [["sid", None, NOW, "\u00e9" * 43]]},
        {"entries": [["sid", None, NOW, "A" * 43]] * (MAX_ENTRIES + 1)},
        {"entries": [["device", None, NOW, "A" * 43]] * (MAX_ENTRIES + 1)},
        {"entries": [["sid", None, NOW, base64url.encode(bytes(32 * (MAX_ENTRIES + 1)))]]},
    ],
)
def test_members_of_another_form_are_refused(changes: dict[str, Any]) -> None:
    """A well-signed document is read no less strictly."""
    with pytest.raises(InvalidDocument):
        read_document(signed(HEADER, members(**changes))).verify(KEY.public_jwk, ISSUER)


def test_a_kind_of_later_releases_is_passed_over() -> None:
    """The feed may learn new kinds; the entries that are known hold all the same."""
    hashed = base64url.encode(ENTRY.identifier_hash)
    listed = [["device", None, NOW, hashed], ["sid", None, NOW + 1_200, hashed]]
    document = read_document(signed(HEADER, members(entries=listed))).verify(KEY.public_jwk, ISSUER)
    assert ungroup(document.groups) == [ENTRY]


def test_another_key_or_a_changed_byte_is_refused() -> None:
    """Forged, truncated, spliced."""
    encoded = encode_document(DOCUMENT, KEY)
    other = signing_key("RS256", 1)
    with pytest.raises(InvalidDocument):
        read_document(encoded).verify(other.public_jwk, ISSUER)
    header, payload, signature = encoded.split(b".")
    spliced = b".".join([header, base64url.encode(json.dumps(members(seq=9)).encode()).encode(), signature])
    with pytest.raises(InvalidDocument, match="signature"):
        read_document(spliced).verify(KEY.public_jwk, ISSUER)
    for length in (0, 1, len(header), len(header) + 1, len(encoded) - 300, len(encoded) - 1):
        with pytest.raises(InvalidDocument):
            read_document(encoded[:length]).verify(KEY.public_jwk, ISSUER)
    assert payload


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    """No other exception comes out, whatever is sent."""
    with pytest.raises(InvalidDocument):
        read_document(data)


@pytest.mark.parametrize("payload", [b"[]", b"null", b'{"iss":1,"iss":2}', b"\xff", b"{" * 50])
def test_a_payload_that_is_no_object_is_refused(payload: bytes) -> None:
    """Strict JSON, as everywhere."""
    text = sign_bytes(json.dumps(HEADER).encode(), payload, KEY).encode()
    with pytest.raises(InvalidDocument):
        read_document(text).verify(KEY.public_jwk, ISSUER)
