"""What a resource server accepts and refuses (RFC 9068 section 4 with RFC 7515, 7519, 8725): every rule, every row.

Each token here is properly signed by the issuer's key unless its name says otherwise, so that it is refused by the
rule it breaks and not by its signature; the fault says which rule that was.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared import base64url
from shared.access_token import MAX_TOKEN_LENGTH, AccessTokenDecoder
from shared.bearer import InvalidToken, TokenFault
from tests.protocol.minting import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    NOW,
    RULES,
    claims_of,
    header_of,
    mint,
    sign_bytes,
    signing_key,
)

KEY = signing_key()
KEYS = {KEY.kid: KEY.public_jwk}
HEADER = json.dumps(header_of(KEY)).encode()
PAYLOAD = json.dumps(claims_of()).encode()
GOOD = mint()
DEEP = b"[" * 2_000 + b"]" * 2_000


def fault_of(token: str, now: float = NOW) -> TokenFault | None:
    """Which rule refuses `token`; None when none does."""
    try:
        AccessTokenDecoder(RULES).decode(token, KEYS, now)
    except InvalidToken as error:
        return error.fault
    return None


def with_header(**changes: Any) -> str:
    return mint(header=changes)


def with_claims(**changes: Any) -> str:
    return mint(claims=changes)


def with_members(text: str, members: bytes) -> bytes:
    """JSON object text with more members behind the others, duplicates included."""
    return text.encode()[:-1] + b"," + members + b"}"


ACCEPTED = {
    "a token of the contract": GOOD,
    "typ in another case": with_header(typ="AT+JWT"),
    "typ with application/": with_header(typ="application/at+jwt"),
    "unknown header parameter": with_header(x5t="abc", vendor={"a": 1}),
    "audience as a list": with_claims(aud=["https://other.example", AUDIENCE]),
    "exp not an integer": with_claims(exp=NOW + 1.5),
    "iat not an integer": with_claims(iat=NOW - 1.5),
    "nbf now": with_claims(nbf=int(NOW)),
    "unknown claims": with_claims(groups=["a"], vendor={"a": [1]}),
    "optional claims absent": with_claims(sid=ABSENT, auth_time=ABSENT, acr=ABSENT, amr=ABSENT, scope=ABSENT),
    "optional claims null": with_claims(sid=None, auth_time=None, acr=None, amr=None, nbf=None, cnf=None),
    "whitespace around the JSON": sign_bytes(b"\r\n " + HEADER + b"\n", b" " + PAYLOAD + b"\t"),
    "name beyond ASCII": sign_bytes(HEADER, json.dumps(claims_of(name="Zoë 🙂"), ensure_ascii=False).encode()),
    "name with an escaped pair": with_claims(name="🙂"),
    "subject beyond ASCII": with_claims(sub="zoë"),
}


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_the_specifications_allow_is_accepted(token: str) -> None:
    """Strict is not narrow: a correct token passes in each of its allowed forms."""
    assert fault_of(token) is None


def spare_bits(segment: str) -> str:
    """The same bytes in another spelling: the unused bits of the last character set."""
    alphabet = base64url.ALPHABET.decode()
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1]


HEADER_SEGMENT, PAYLOAD_SEGMENT, SIGNATURE = GOOD.split(".")
ODD_PAYLOAD = next(
    candidate
    for candidate in (with_claims(jti="j" * length).split(".")[1] for length in range(1, 4))
    if len(candidate) % 4
)
FORM: dict[str, tuple[str, TokenFault]] = {
    "2 segments": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}", TokenFault.FORMAT),
    "4 segments": (f"{GOOD}.AAAA", TokenFault.FORMAT),
    "5 segments, a JWE": (f"{GOOD}.AAAA.AAAA", TokenFault.FORMAT),
    "no segments": ("abc", TokenFault.FORMAT),
    "empty": ("", TokenFault.FORMAT),
    "empty header": (f".{PAYLOAD_SEGMENT}.{SIGNATURE}", TokenFault.FORMAT),
    "empty payload": (f"{HEADER_SEGMENT}..{SIGNATURE}", TokenFault.FORMAT),
    "empty signature": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.", TokenFault.FORMAT),
    "JSON serialisation": (json.dumps({"payload": PAYLOAD_SEGMENT, "signatures": []}), TokenFault.FORMAT),
    "quotation mark": (f'"{GOOD}"', TokenFault.FORMAT),
    "brace": ("{" + GOOD, TokenFault.FORMAT),
    "not ASCII": (f"ä{GOOD}", TokenFault.FORMAT),
    "full-width digit": (GOOD.replace("1", "\uff11"), TokenFault.FORMAT),
    "NUL": (f"{GOOD}\0", TokenFault.FORMAT),
    "line break at the end": (f"{GOOD}\n", TokenFault.FORMAT),
    "line break within": (f"{HEADER_SEGMENT}.\n{PAYLOAD_SEGMENT}.{SIGNATURE}", TokenFault.FORMAT),
    "space at the end": (f"{GOOD} ", TokenFault.FORMAT),
    "padded signature": (f"{GOOD}==", TokenFault.FORMAT),
    "padded payload": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}=.{SIGNATURE}", TokenFault.FORMAT),
    "other alphabet": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.+{SIGNATURE[1:]}", TokenFault.FORMAT),
    "slash": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}./{SIGNATURE[1:]}", TokenFault.FORMAT),
    "as long as allowed, and one more": (GOOD + "A" * (MAX_TOKEN_LENGTH + 1 - len(GOOD)), TokenFault.LENGTH),
    "8 MB": ("A" * 8_000_000, TokenFault.LENGTH),
    "a million dots": ("." * 1_000_000, TokenFault.LENGTH),
    "8000 dots": ("." * 8_000, TokenFault.FORMAT),
    "signature not canonical": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{spare_bits(SIGNATURE)}", TokenFault.ENCODING),
    "payload not canonical": (f"{HEADER_SEGMENT}.{spare_bits(ODD_PAYLOAD)}.{SIGNATURE}", TokenFault.ENCODING),
    "impossible length": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{SIGNATURE[:-1]}", TokenFault.ENCODING),
    "signature one byte short": (
        f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{base64url.encode(base64url.decode(SIGNATURE)[:-1])}",
        TokenFault.SIGNATURE,
    ),
    "signature one byte long": (
        f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{base64url.encode(base64url.decode(SIGNATURE) + b'x')}",
        TokenFault.SIGNATURE,
    ),
    "signature of zeroes": (f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{base64url.encode(bytes(256))}", TokenFault.SIGNATURE),
    "signature of another token": (
        f"{HEADER_SEGMENT}.{PAYLOAD_SEGMENT}.{with_claims(sub='x').split('.')[2]}",
        TokenFault.SIGNATURE,
    ),
    "payload of another token": (f"{HEADER_SEGMENT}.{ODD_PAYLOAD}.{SIGNATURE}", TokenFault.SIGNATURE),
}


@pytest.mark.parametrize(("token", "fault"), FORM.values(), ids=FORM.keys())
def test_form(token: str, fault: TokenFault) -> None:
    """Sections 2.3, 2.4 and 2.11: three canonical base64url segments, and a signature over exactly these bytes."""
    assert fault_of(token) is fault


HEADERS: dict[str, tuple[str, TokenFault]] = {
    # 2.5
    "not JSON": (sign_bytes(b"abc", PAYLOAD), TokenFault.HEADER),
    "not an object": (sign_bytes(b"[]", PAYLOAD), TokenFault.HEADER),
    "a text": (sign_bytes(b'"alg"', PAYLOAD), TokenFault.HEADER),
    "byte order mark": (sign_bytes(b"\xef\xbb\xbf" + HEADER, PAYLOAD), TokenFault.HEADER),
    "UTF-16": (sign_bytes(HEADER.decode().encode("utf-16"), PAYLOAD), TokenFault.HEADER),
    "UTF-16 without a mark": (sign_bytes(HEADER.decode().encode("utf-16-be"), PAYLOAD), TokenFault.HEADER),
    "UTF-32": (sign_bytes(HEADER.decode().encode("utf-32"), PAYLOAD), TokenFault.HEADER),
    "not UTF-8": (sign_bytes(with_members(HEADER.decode(), b'"x":"\xff"'), PAYLOAD), TokenFault.HEADER),
    "duplicate alg, none first": (
        sign_bytes(b'{"alg":"none",' + HEADER[1:], PAYLOAD),
        TokenFault.HEADER,
    ),
    "duplicate alg, none last": (
        sign_bytes(with_members(HEADER.decode(), b'"alg":"none"'), PAYLOAD),
        TokenFault.HEADER,
    ),
    "duplicate kid": (sign_bytes(with_members(HEADER.decode(), b'"kid":"other"'), PAYLOAD), TokenFault.HEADER),
    "duplicate by an escape": (
        sign_bytes(with_members(HEADER.decode(), b'"al\\u0067":"RS256"'), PAYLOAD),
        TokenFault.HEADER,
    ),
    "NaN": (sign_bytes(with_members(HEADER.decode(), b'"x":NaN'), PAYLOAD), TokenFault.HEADER),
    "2000 nested arrays": (sign_bytes(with_members(HEADER.decode(), b'"x":' + DEEP), PAYLOAD), TokenFault.HEADER),
    "lone surrogate": (sign_bytes(with_members(HEADER.decode(), b'"x":"\\ud800"'), PAYLOAD), TokenFault.HEADER),
    "two objects": (sign_bytes(HEADER + HEADER, PAYLOAD), TokenFault.HEADER),
    # 2.6
    **{
        f"alg {alg!r}": (with_header(alg=alg), TokenFault.ALGORITHM)
        for alg in ("none", "None", "NonE", "NONE", "rs256", "RS256 ", "HS256", "RS512", "PS256", "", 1, None, True)
    },
    "alg a list": (with_header(alg=["RS256"]), TokenFault.ALGORITHM),
    "alg an object": (with_header(alg={"RS256": 1}), TokenFault.ALGORITHM),
    "alg absent": (with_header(alg=ABSENT), TokenFault.ALGORITHM),
    # 2.7
    **{
        f"typ {typ!r}": (with_header(typ=typ), TokenFault.TYPE)
        for typ in (
            "JWT",
            "jwt",
            "dpop+jwt",
            "secevent+jwt",
            "logout+jwt",
            "statuslist+jwt",
            "JOSE",
            "at+jwt ",
            "application/application/at+jwt",
            "text/at+jwt",
            "",
            1,
            None,
            ["at+jwt"],
        )
    },
    "typ absent": (with_header(typ=ABSENT), TokenFault.TYPE),
    # 2.8
    "crit of an unknown name": (with_header(crit=["x"], x=1), TokenFault.HEADER_PARAMETER),
    "crit empty": (with_header(crit=[]), TokenFault.HEADER_PARAMETER),
    "crit a text": (with_header(crit="x"), TokenFault.HEADER_PARAMETER),
    "crit null": (with_header(crit=None), TokenFault.HEADER_PARAMETER),
    "crit of a registered name": (with_header(crit=["alg"]), TokenFault.HEADER_PARAMETER),
    "crit of an absent member": (with_header(crit=["absent"]), TokenFault.HEADER_PARAMETER),
    "b64 false": (with_header(b64=False, crit=["b64"]), TokenFault.HEADER_PARAMETER),
    "b64 true": (with_header(b64=True, crit=["b64"]), TokenFault.HEADER_PARAMETER),
    "b64 without crit": (with_header(b64=True), TokenFault.HEADER_PARAMETER),
    "zip": (with_header(zip="DEF"), TokenFault.HEADER_PARAMETER),
    "enc": (with_header(enc="A256GCM"), TokenFault.HEADER_PARAMETER),
    "cty, a nested token": (with_header(cty="JWT"), TokenFault.HEADER_PARAMETER),
    "jwk": (with_header(jwk=KEY.public_jwk.as_json_object()), TokenFault.HEADER_PARAMETER),
    "jku": (with_header(jku="https://attacker.example/keys"), TokenFault.HEADER_PARAMETER),
    "x5u": (with_header(x5u="https://attacker.example/cert"), TokenFault.HEADER_PARAMETER),
    "x5c": (with_header(x5c=["MII"]), TokenFault.HEADER_PARAMETER),
    # 2.9
    **{
        f"kid {kid!r}": (with_header(kid=kid), TokenFault.KEY_ID)
        for kid in (1, None, "", "k" * 129, "a\n", "a\0b", "ä", ["a"], {"a": 1}, True)
    },
    "kid absent": (with_header(kid=ABSENT), TokenFault.KEY_ID),
    # 2.10
    "kid unknown": (with_header(kid="unknown"), TokenFault.UNKNOWN_KEY),
    "kid a path": (with_header(kid="../../etc/passwd"), TokenFault.UNKNOWN_KEY),
    "kid an address": (with_header(kid="http://169.254.169.254/"), TokenFault.UNKNOWN_KEY),
    "kid an SQL text": (with_header(kid="' OR 1=1 --"), TokenFault.UNKNOWN_KEY),
    "kid in another case": (with_header(kid=KEY.kid.swapcase()), TokenFault.UNKNOWN_KEY),
    # 2.11
    "signed by another key": (mint(key=signing_key("RS256", 1), header={"kid": KEY.kid}), TokenFault.SIGNATURE),
    "signed with PSS by the same key": (mint(key=signing_key("PS256"), header={"alg": "RS256"}), TokenFault.SIGNATURE),
    "forged and expired": (
        mint(key=signing_key("RS256", 1), header={"kid": KEY.kid}, claims={"exp": int(NOW) - 100}),
        TokenFault.SIGNATURE,
    ),
}


@pytest.mark.parametrize(("token", "fault"), HEADERS.values(), ids=HEADERS.keys())
def test_header(token: str, fault: TokenFault) -> None:
    """Sections 2.5 to 2.11: one strict header, one algorithm, one type, a known key, its signature."""
    assert fault_of(token) is fault


def payload_with(members: bytes) -> str:
    return sign_bytes(HEADER, with_members(PAYLOAD.decode(), members))


INVALID_TIMES: tuple[object, ...] = ("1800000000", True, False, [], {}, -1, 2**53, 10**300, "")
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638 section 3.1
CONFIRMATIONS: tuple[object, ...] = ({"jkt": THUMBPRINT}, {"x5t#S256": "a"}, {"other": 1}, {}, "a", [])
INVALID_SCOPES: tuple[object, ...] = (
    ["data:read"],
    "data:read  data:write",
    " data:read",
    "data:read ",
    "",
    'a"b',
    "a\nb",
    1,
    True,
    {},
)
CLAIMS: dict[str, tuple[str, TokenFault]] = {
    # 2.12
    "not JSON": (sign_bytes(HEADER, b"abc"), TokenFault.PAYLOAD),
    "not an object": (sign_bytes(HEADER, b"[1]"), TokenFault.PAYLOAD),
    "null": (sign_bytes(HEADER, b"null"), TokenFault.PAYLOAD),
    "a nested token": (sign_bytes(HEADER, GOOD.encode()), TokenFault.PAYLOAD),
    "byte order mark": (sign_bytes(HEADER, b"\xef\xbb\xbf" + PAYLOAD), TokenFault.PAYLOAD),
    "UTF-16": (sign_bytes(HEADER, PAYLOAD.decode().encode("utf-16")), TokenFault.PAYLOAD),
    "UTF-32 without a mark": (sign_bytes(HEADER, PAYLOAD.decode().encode("utf-32-le")), TokenFault.PAYLOAD),
    "duplicate exp": (payload_with(b'"exp":9999999999'), TokenFault.PAYLOAD),
    "duplicate sub": (payload_with(b'"sub":"admin"'), TokenFault.PAYLOAD),
    "duplicate in a member": (payload_with(b'"x":{"a":1,"a":2}'), TokenFault.PAYLOAD),
    "exp 1e400": (sign_bytes(HEADER, PAYLOAD.replace(b'"exp": 1800000290', b'"exp": 1e400')), TokenFault.PAYLOAD),
    "exp Infinity": (sign_bytes(HEADER, PAYLOAD.replace(b'"exp": 1800000290', b'"exp": Infinity')), TokenFault.PAYLOAD),
    "exp NaN": (sign_bytes(HEADER, PAYLOAD.replace(b'"exp": 1800000290', b'"exp": NaN')), TokenFault.PAYLOAD),
    "5000-digit number": (payload_with(b'"x":' + b"1" * 5_000), TokenFault.PAYLOAD),
    "2000 nested arrays": (payload_with(b'"x":' + DEEP), TokenFault.PAYLOAD),
    "33 nested arrays": (payload_with(b'"x":' + b"[" * 33 + b"]" * 33), TokenFault.PAYLOAD),
    "lone surrogate in sub": (sign_bytes(HEADER, json.dumps(claims_of(sub="\ud800")).encode()), TokenFault.PAYLOAD),
    "lone surrogate elsewhere": (payload_with(b'"x":["\\udc00"]'), TokenFault.PAYLOAD),
    # 2.13 and 2.15, issuer and audience
    **{
        f"iss {iss!r}": (with_claims(iss=iss), TokenFault.ISSUER)
        for iss in (
            ISSUER + "/",
            ISSUER.upper(),
            ISSUER[:-1],
            ISSUER + "1",
            "http://localhost:8001@evil.example",
            "",
            1,
            None,
            [ISSUER],
            {ISSUER: 1},
        )
    },
    "iss absent": (with_claims(iss=ABSENT), TokenFault.ISSUER),
    **{
        f"aud {aud!r}": (with_claims(aud=aud), TokenFault.AUDIENCE)
        for aud in (
            [],
            "",
            {},
            {AUDIENCE: 1},
            [AUDIENCE, 1],
            [AUDIENCE, None],
            [[AUDIENCE]],
            "https://other.example",
            ["https://other.example"],
            AUDIENCE + "/",
            AUDIENCE.upper(),
            AUDIENCE[:-1],
            "first-party",
            1,
            True,
            None,
        )
    },
    "aud absent": (with_claims(aud=ABSENT), TokenFault.AUDIENCE),
    # 2.13 and 2.15, identifiers
    **{
        f"{name} {value!r}": (with_claims(**{name: value}), fault)
        for name, fault in (
            ("sub", TokenFault.SUBJECT),
            ("client_id", TokenFault.CLIENT),
            ("jti", TokenFault.TOKEN_ID),
        )
        for value in ("", " ", "a\0b", "a\n", "\u200b", "\u00a0", "x" * 256, 1, True, None, ["a"], {"a": 1}, ABSENT)
    },
    # 2.13 to 2.15, times
    **{
        f"{name} {value!r}": (with_claims(**{name: value}), TokenFault.TIME_FORMAT)
        for name in ("exp", "iat")
        for value in (*INVALID_TIMES, None, ABSENT)
    },
    **{f"nbf {value!r}": (with_claims(nbf=value), TokenFault.TIME_FORMAT) for value in INVALID_TIMES},
    "expired": (with_claims(exp=int(NOW) - 6), TokenFault.EXPIRED),
    "exp 0": (with_claims(exp=0), TokenFault.EXPIRED),
    "issued in an hour": (with_claims(iat=int(NOW) + 3_600, exp=int(NOW) + 3_700), TokenFault.ISSUED_IN_FUTURE),
    "lives too long": (with_claims(iat=int(NOW), exp=int(NOW) + 901), TokenFault.LIFETIME),
    "lives for ever": (with_claims(exp=2**53 - 1), TokenFault.LIFETIME),
    "not valid for an hour": (with_claims(nbf=int(NOW) + 3_600), TokenFault.NOT_YET_VALID),
    # 2.17
    **{f"cnf {cnf!r}": (with_claims(cnf=cnf), TokenFault.CONFIRMATION) for cnf in CONFIRMATIONS},
    # 2.19
    **{f"scope {scope!r}": (with_claims(scope=scope), TokenFault.SCOPE) for scope in INVALID_SCOPES},
    # claims that mean something when they are there
    "sid a number": (with_claims(sid=1), TokenFault.CLAIM),
    "acr a number": (with_claims(acr=1), TokenFault.CLAIM),
    "auth_time a text": (with_claims(auth_time="1"), TokenFault.CLAIM),
    "auth_time true": (with_claims(auth_time=True), TokenFault.CLAIM),
    "amr a text": (with_claims(amr="pwd"), TokenFault.CLAIM),
    "amr of numbers": (with_claims(amr=[1]), TokenFault.CLAIM),
}


@pytest.mark.parametrize(("token", "fault"), CLAIMS.values(), ids=CLAIMS.keys())
def test_claims(token: str, fault: TokenFault) -> None:
    """Sections 2.12 to 2.19: strict JSON, types before values, everything required is there."""
    assert fault_of(token) is fault


OTHER_KINDS = {
    "ID token": mint(header={"typ": "JWT"}, claims={"aud": "first-party", "nonce": "n"}),
    "ID token with our audience": mint(header={"typ": "JWT"}, claims={"nonce": "n"}),
    "refresh token": mint(header={"typ": "JWT"}, claims={"typ": "Refresh"}),
    "logout token": mint(header={"typ": "logout+jwt"}, claims={"events": {}}),
    "e-mail verification": mint(header={"typ": "JWT"}, claims={"purpose": "verify", "scope": ABSENT}),
    "client assertion": mint(header={"typ": "JWT"}, claims={"iss": "client", "sub": "client"}),
    "DPoP proof": mint(header={"typ": "dpop+jwt", "jwk": {}}, claims={"htm": "GET", "htu": AUDIENCE}),
}


@pytest.mark.parametrize("token", OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_another_kind_of_token_is_not_an_access_token(token: str) -> None:
    """What the same issuer signed for another purpose is refused by its type (CVE-2026-41164)."""
    assert fault_of(token) is TokenFault.TYPE


BOUNDARIES = {
    "expires a moment later": ({"exp": int(NOW)}, NOW + 4.999, None),
    "expired on the instant": ({"exp": int(NOW)}, NOW + 5, TokenFault.EXPIRED),
    "nbf at the edge": ({"nbf": int(NOW) + 5}, NOW, None),
    "nbf past the edge": ({"nbf": int(NOW) + 5}, NOW - 0.001, TokenFault.NOT_YET_VALID),
    "iat at the edge": ({"iat": int(NOW) + 5}, NOW, None),
    "iat past the edge": ({"iat": int(NOW) + 5}, NOW - 0.001, TokenFault.ISSUED_IN_FUTURE),
    "longest life": ({"iat": int(NOW), "exp": int(NOW) + 900}, NOW, None),
}


@pytest.mark.parametrize(("claims", "now", "fault"), BOUNDARIES.values(), ids=BOUNDARIES.keys())
def test_instants(claims: dict[str, Any], now: float, fault: TokenFault | None) -> None:
    """Section 2.14: `exp` is "on or after", and the leeway of 5 s is the whole tolerance (RFC 7519 section 4.1.4)."""
    assert fault_of(with_claims(**{"iat": int(NOW) - 10} | claims), now) is fault


def public_key_texts() -> dict[str, bytes]:
    public_key = KEY.public_jwk.public_key
    assert isinstance(public_key, rsa.RSAPublicKey)
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(KEY.public_jwk.as_json_object()).encode()
    return {
        "PEM": pem,
        "PEM without its last line break": pem.rstrip(),
        "PEM behind whitespace": b"\n \t" + pem,
        "PEM behind a comment": b"# key\n" + pem,
        "PEM behind a byte order mark": b"\xef\xbb\xbf" + pem,
        "PKCS#1 PEM": public_key.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "DER": public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "OpenSSH": public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": jwk,
        "modulus": KEY.public_jwk.members["n"].encode(),
        "kid": KEY.kid.encode(),
        "empty": b"",
    }


SECRETS = public_key_texts()


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_the_public_key_is_no_hmac_secret(secret: bytes, name: str) -> None:
    """A token "signed" with a public text as HMAC secret is refused (CVE-2022-29217 and its many kin)."""
    header = base64url.encode(json.dumps(header_of(KEY, alg=f"HS{name[3:]}")).encode())
    signing_input = f"{header}.{PAYLOAD_SEGMENT}"
    signature = hmac.new(secret, signing_input.encode(), getattr(hashlib, name)).digest()
    assert fault_of(f"{signing_input}.{base64url.encode(signature)}") is TokenFault.ALGORITHM


def test_an_encrypted_token_is_refused_before_any_work() -> None:
    """A JWE with an absurd PBES2 count or a zip bomb is five segments and nothing more (CVE-2023-6681)."""
    header = base64url.encode(json.dumps({"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1}).encode())
    token = f"{header}.AAAA.AAAA.AAAA.AAAA"
    assert fault_of(token) is TokenFault.FORMAT
    assert _seconds_to_refuse(token) < 0.1


@pytest.mark.parametrize("name", ["8 MB", "a million dots", "8000 dots"])
def test_size_costs_nothing(name: str) -> None:
    """A huge token is refused in well under 10 ms (CVE-2025-30204, CVE-2025-61920)."""
    token, _ = FORM[name]
    best = min(_seconds_to_refuse(token) for _ in range(5))
    assert best < 0.01


@pytest.mark.parametrize(
    "inner", [b"[" * 6_000, b'{"a":' * 1_200, b"1" * 4_000, b'"' + b"\\u0041" * 1_000 + b'"'], ids=len
)
def test_hostile_json_costs_little(inner: bytes) -> None:
    """Nesting, digits and escapes up to the longest token are refused, or read, in well under 10 ms."""
    for token in (sign_bytes(b'{"x":' + inner, b"{}"), sign_bytes(HEADER, b'{"x":' + inner + b"}")):
        if len(token) <= MAX_TOKEN_LENGTH:
            assert min(_seconds_to_refuse(token) for _ in range(5)) < 0.01


def _seconds_to_refuse(token: str) -> float:
    """Of the processor's time: what else the machine does is not counted."""
    started = time.thread_time()
    assert fault_of(token) is not None
    return time.thread_time() - started


def test_a_refusal_tells_nothing_it_was_told() -> None:
    """No refusal holds a piece of the token or of an exception, and before the signature all texts are one."""
    assert {InvalidToken(fault).description for _, fault in (FORM | HEADERS).values()} == {
        "The access token is not valid here."
    }
    for token, _ in (FORM | HEADERS | CLAIMS).values():
        with pytest.raises(InvalidToken) as refused:
            AccessTokenDecoder(RULES).decode(token, KEYS, NOW)
        error = refused.value
        shown = f"{error} {error.description} {dict(error.headers)}"
        assert not any(len(piece) > 8 and piece in shown for piece in token.split("."))
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


def test_the_reference_agrees_that_good_is_good() -> None:
    """The token that every row starts from is what another library reads too (so rows test what they say)."""
    assert json.loads(base64.urlsafe_b64decode(HEADER_SEGMENT + "==")) == header_of(KEY)
    assert fault_of(GOOD) is None
