"""The Token Status List: the draft's vectors, what is written comes back, and nothing else is read."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import base64url
from shared.access_token import AccessToken, AccessTokenDecoder, encode
from shared.bearer import InvalidToken, TokenFault
from shared.scope import Scope
from shared.status_list import (
    BIT_SIZES,
    MAX_PACKED_BYTES,
    MAX_TOKEN_BYTES,
    InvalidStatus,
    StatusList,
    StatusListToken,
    StatusReference,
    compress,
    encode_list_token,
    inflate,
    list_of_invalid,
    read_list_token,
    read_status_claim,
)
from shared.token_rules import PLAIN_JWT, Profile, TokenRules
from tests.protocol.minting import ABSENT, AUDIENCE, ISSUER, NOW, RULES, mint, sign_bytes, signing_key
from tests.shared.status_list_vectors import LENGTH, VECTORS, Vector

KEY = signing_key()
URI = "https://login.example/statuslists/1"
LIST = list_of_invalid(16, [0, 3, 4, 5, 7, 8, 9, 13, 15])
TOKEN = StatusListToken(URI, int(NOW), int(NOW) + 300, 60, LIST)
HEADER = {"alg": "RS256", "typ": "statuslist+jwt", "kid": KEY.kid}
FOLLOWING = TokenRules(ISSUER, AUDIENCE, follows_status=True)


def members(**changes: Any) -> dict[str, Any]:
    good = {"sub": URI, "iat": int(NOW), "exp": int(NOW) + 300, "ttl": 60}
    everything = {**good, "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}, **changes}
    return {name: value for name, value in everything.items() if value is not ABSENT}


def signed(header: dict[str, Any], payload: object) -> bytes:
    return sign_bytes(json.dumps(header).encode(), json.dumps(payload).encode(), KEY).encode()


def read(body: bytes) -> StatusListToken:
    return read_list_token(body).verify(KEY.public_jwk, URI, issuer=ISSUER)


def packed(bits: int, statuses: list[int]) -> bytes:
    """The statuses one after the other, from the least significant bit on: written apart from the code's way."""
    number = sum(status << (bits * idx) for idx, status in enumerate(statuses))
    return number.to_bytes(-(-len(statuses) * bits // 8), "little")


# Statuses in bits.


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector.bits}-bit")
def test_the_drafts_vectors_are_read(vector: Vector) -> None:
    """Appendix C: every status of every index that is named, and 0 for those that are not."""
    statuses = StatusList(vector.bits, inflate(vector.lst))
    assert len(statuses) == LENGTH
    assert {idx: statuses.status_of(idx) for idx in vector.statuses} == dict(vector.statuses)
    others = set(range(0, LENGTH, 997)) - set(vector.statuses)
    assert {statuses.status_of(idx) for idx in others} == {0}


def test_the_drafts_vectors_are_written() -> None:
    """Section 4.1 and appendix C.1: the same bytes before compression, and these again after it."""
    assert bytes.fromhex("b9a3") == LIST.packed
    assert inflate("eNrbuRgAAhcBXQ") == LIST.packed
    assert inflate("eNo76fITAAPfAgc") == bytes.fromhex("c944f9")
    one_bit = VECTORS[0]
    written = list_of_invalid(LENGTH, one_bit.statuses)
    assert written == StatusList(1, inflate(one_bit.lst))
    assert inflate(compress(written.packed)) == written.packed
    # How zlib spells it is its own affair; it is no worse than the draft's.
    assert len(compress(written.packed)) <= len(one_bit.lst)


@given(st.data(), st.sampled_from(BIT_SIZES))
def test_statuses_come_back_as_they_were_packed(data: st.DataObject, bits: int) -> None:
    """Each index has its own bits; beyond the last byte nothing is said."""
    statuses = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=60))
    held = StatusList(bits, inflate(compress(packed(bits, statuses))))
    assert [held.status_of(idx) for idx in range(len(statuses))] == statuses
    assert len(statuses) <= len(held) < len(statuses) + 8
    assert held.status_of(len(held)) is None
    assert held.status_of(2**53 - 1) is None
    assert held.status_of(-1) is None


@given(st.sets(st.integers(0, 799)))
def test_what_is_invalid_and_nothing_else_is_set(invalid: set[int]) -> None:
    """`list_of_invalid`: the indices that were named."""
    held = list_of_invalid(800, invalid)
    assert {idx for idx in range(800) if held.status_of(idx)} == invalid


def test_a_bomb_is_not_unpacked() -> None:
    """A gigabyte in a megabyte: refused when the limit is passed, with no more in memory than that."""
    deflate = zlib.compressobj(9)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(64)) + deflate.flush()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidStatus, match="too large"):
            inflate(base64url.encode(bomb))
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_PACKED_BYTES
    finally:
        tracemalloc.stop()
    assert len(inflate(compress(bytes(MAX_PACKED_BYTES)))) == MAX_PACKED_BYTES
    with pytest.raises(InvalidStatus, match="too large"):
        inflate(compress(bytes(MAX_PACKED_BYTES + 1)))


GOOD_ZLIB = zlib.compress(b"\xb9\xa3")


@pytest.mark.parametrize(
    "lst",
    [
        "",
        "*",
        "eNrbuRgAAhcBXQ==",
        base64url.encode(GOOD_ZLIB[:-1]),
        base64url.encode(GOOD_ZLIB[:3]),
        base64url.encode(GOOD_ZLIB + b"\0"),
        base64url.encode(GOOD_ZLIB + GOOD_ZLIB),
        base64url.encode(GOOD_ZLIB[2:]),
        base64url.encode(GOOD_ZLIB[:-1] + b"\0"),
        base64url.encode(b"\x1f\x8b" + GOOD_ZLIB),
        base64url.encode(zlib.compressobj(zdict=b"abc").compress(b"abc") + b"x"),
        "ä",
    ],
)
def test_a_damaged_list_is_not_read(lst: str) -> None:
    """Cut, padded, followed by anything, without its checksum, of another format: ZLIB whole or not at all."""
    with pytest.raises(InvalidStatus, match="lst"):
        inflate(lst)


@given(st.binary(max_size=200))
@example(GOOD_ZLIB)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but InvalidStatus is ever raised."""
    try:
        inflate(base64url.encode(data))
    except InvalidStatus:
        assert data != GOOD_ZLIB


# The token.


def test_a_token_comes_back_as_it_was() -> None:
    """Encoded, signed, read, verified: the same value; also with `iss`, without `exp` and `ttl`, with members unknown
    here."""
    assert read(encode_list_token(TOKEN, KEY)) == TOKEN
    assert read(signed(HEADER, members(iss=ISSUER, nbf=int(NOW), more=1))) == TOKEN
    assert read(signed({**HEADER, "typ": "application/StatusList+JWT", "x": 1}, members())) == TOKEN
    bare = read(signed(HEADER, members(exp=ABSENT, ttl=ABSENT)))
    assert (bare.expires_at, bare.ttl, bare.statuses) == (None, None, LIST)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": URI + "/"},
        {"sub": URI.upper()},
        {"sub": [URI]},
        {"sub": ABSENT},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": AUDIENCE},
        {"nbf": int(NOW) + 1},
        {"nbf": "0"},
        {"iat": ABSENT},
        {"iat": True},
        {"iat": "1800000000"},
        {"iat": -1},
        {"exp": "later"},
        {"exp": False},
        {"ttl": 0},
        {"ttl": -60},
        {"ttl": True},
        {"ttl": "60"},
        {"status_list": ABSENT},
        {"status_list": []},
        {"status_list": {"bits": 1}},
        {"status_list": {"lst": "eNrbuRgAAhcBXQ"}},
        *({"status_list": {"bits": bits, "lst": "eNrbuRgAAhcBXQ"}} for bits in (0, 3, 5, 16, -1, True, 1.0, "1", None)),
        *({"status_list": {"bits": 1, "lst": lst}} for lst in (None, 1, True, "eNr", "")),
    ],
    ids=str,
)
def test_a_token_with_other_claims_is_refused(changes: dict[str, Any]) -> None:
    """Each has its type and its bounds; `sub` is the address it was fetched from, to the character."""
    with pytest.raises(InvalidStatus):
        read(signed(HEADER, members(**changes)))


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "typ": "at+jwt"},
        {**HEADER, "typ": "JWT"},
        {**HEADER, "typ": "statuslist+cwt"},
        {**HEADER, "typ": None},
        {"alg": "RS256", "kid": KEY.kid},
        {**HEADER, "alg": "none"},
        {**HEADER, "alg": "HS256"},
        {**HEADER, "alg": "PS256"},
        {**HEADER, "kid": "other"},
        {**HEADER, "kid": 1},
        {**HEADER, "crit": ["x"]},
        {**HEADER, "jwk": KEY.public_jwk.as_json_object()},
        {**HEADER, "x5c": []},
        {**HEADER, "zip": "DEF"},
    ],
)
def test_a_token_with_another_header_is_refused(header: dict[str, Any]) -> None:
    """Type, algorithm and key are pinned; no parameter says how it is to be trusted."""
    with pytest.raises(InvalidStatus):
        read(signed(header, members()))


@pytest.mark.parametrize("body", [b"", b"..", b"a.b", b"a.b.c.d", b"\xff.\xff.\xff", b"A" * (MAX_TOKEN_BYTES + 1)])
def test_what_is_no_token_is_refused(body: bytes) -> None:
    """Before any key is looked for."""
    with pytest.raises(InvalidStatus):
        read_list_token(body)


def test_a_forged_token_is_refused() -> None:
    """One bit of the list, and another's signature."""
    good = encode_list_token(TOKEN, KEY)
    changed = signed(HEADER, members(status_list={"bits": 1, "lst": compress(b"\0\0")}))
    for body in (good.rpartition(b".")[0] + b".AAAA", changed.rpartition(b".")[0] + b"." + good.rpartition(b".")[2]):
        with pytest.raises(InvalidStatus, match="signature"):
            read(body)


# The claim.


def test_a_reference_comes_back_as_it_was() -> None:
    """What is minted is what a resource server reads, and one that does not look sees nothing."""
    reference = StatusReference(2**20 - 1, URI)
    token = AccessToken(
        issuer=ISSUER,
        subject="u",
        audience=AUDIENCE,
        client_id="c",
        issued_at=NOW,
        expires_at=NOW + 300,
        token_id="t",
        scope=Scope("a"),
        status=reference,
    )
    keys = {KEY.kid: KEY.public_jwk}
    verified = AccessTokenDecoder(FOLLOWING).decode(encode(token, KEY), keys, NOW)
    assert verified.status == reference
    assert verified.claims["status"] == {"status_list": {"idx": 2**20 - 1, "uri": URI}}
    assert AccessTokenDecoder(RULES).decode(encode(token, KEY), keys, NOW).status is None
    assert AccessTokenDecoder(FOLLOWING).decode(mint(), keys, NOW).status is None
    assert read_status_claim(None) is None


@pytest.mark.parametrize(
    "claim",
    [
        "valid",
        0,
        False,
        [],
        {},
        {"status_list": None},
        {"status_list": []},
        {"identifier_list": {"id": "x", "uri": URI}},
        {"status_list": {"uri": URI}},
        {"status_list": {"idx": 1}},
        {"status_list": {"idx": 1, "uri": ""}},
        {"status_list": {"idx": 1, "uri": [URI]}},
        {"status_list": {"idx": 1, "uri": "https://a.example/" + "a" * 1_024}},
        *({"status_list": {"idx": idx, "uri": URI}} for idx in (-1, True, "1", 1.0, 1.5, None, 2**53, [1])),
    ],
    ids=str,
)
def test_a_claim_that_cannot_be_followed_refuses_its_token(claim: object) -> None:
    """Where status is followed a token says well where it stands, or nothing; elsewhere nobody looks."""
    token, keys = mint(claims={"status": claim}), {KEY.kid: KEY.public_jwk}
    with pytest.raises(InvalidStatus):
        read_status_claim(claim)
    with pytest.raises(InvalidToken) as refusal:
        AccessTokenDecoder(FOLLOWING).decode(token, keys, NOW)
    assert refusal.value.fault is TokenFault.STATUS
    assert AccessTokenDecoder(RULES).decode(token, keys, NOW).status is None


# Neither is taken for the other.


@pytest.mark.parametrize("profile", [RULES.profile, PLAIN_JWT], ids=lambda profile: profile.name)
@pytest.mark.parametrize("typ", ["statuslist+jwt", "application/statuslist+jwt"])
def test_a_list_is_never_an_access_token(profile: Profile, typ: str) -> None:
    """Not even one with every claim of an access token, nor where no `typ` is asked for (RFC 8725 section 3.11)."""
    rules = TokenRules(ISSUER, AUDIENCE, profile=profile)
    keys = {KEY.kid: KEY.public_jwk}
    for token in (encode_list_token(TOKEN, KEY).decode(), mint(header={"typ": typ}, claims=members())):
        with pytest.raises(InvalidToken) as refusal:
            AccessTokenDecoder(rules).decode(token, keys, NOW)
        assert refusal.value.fault is TokenFault.TYPE


def test_a_list_without_a_type_is_none_of_the_tokens_that_come_without_one() -> None:
    """A claim tells it where `typ` does not."""
    rules = TokenRules(ISSUER, AUDIENCE, profile=PLAIN_JWT)
    token = mint(header={"typ": "JWT"}, claims={"status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}})
    with pytest.raises(InvalidToken) as refusal:
        AccessTokenDecoder(rules).decode(token, {KEY.kid: KEY.public_jwk}, NOW)
    assert refusal.value.fault is TokenFault.OTHER_KIND


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", ABSENT], ids=str)
def test_an_access_token_is_never_a_list(typ: object) -> None:
    """Not even one with every claim of a list."""
    token = mint(header={"typ": typ}, claims=members())
    with pytest.raises(InvalidStatus, match="type"):
        read_list_token(token.encode())
