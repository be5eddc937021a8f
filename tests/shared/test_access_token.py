"""The access token: what is encoded, what a verified one is, and how the two steps of decoding fit together."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import RSAKey

from shared import access_token, base64url
from shared.access_token import (
    MAX_KNOWN_HEADERS,
    AccessToken,
    AccessTokenDecoder,
    VerifiedAccessToken,
    encode,
    peek_issuer,
)
from shared.bearer import InvalidToken, TokenFault
from shared.jwk import ALGORITHMS
from shared.scope import Scope
from shared.token_rules import PLAIN_JWT, PROFILES, RFC9068, TokenRules
from tests.protocol.minting import AUDIENCE, ISSUER, NOW, RULES, header_of, mint, sign_bytes, signing_key

KEY = signing_key()
KEYS = {KEY.kid: KEY.public_jwk}
TOKEN = AccessToken(
    issuer=ISSUER,
    subject="0190f6c2-7abc-7def-8123-456789abcdef",
    audience=AUDIENCE,
    client_id="first-party",
    issued_at=int(NOW),
    expires_at=int(NOW) + 300,
    token_id="a-token",
    scope=Scope.parse("data:read data:write"),
    session_id="a-session",
    auth_time=int(NOW) - 60,
    acr="1",
    amr=("pwd", "otp"),
    profile={"preferred_username": "zoë", "email": "zoe@example.org", "email_verified": True},
)


def decode(token: str, **rules: Any) -> VerifiedAccessToken:
    return AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE, **rules)).decode(token, KEYS, NOW)


def test_what_is_encoded_is_decoded() -> None:
    """Both ends of the contract agree on every claim."""
    verified = decode(encode(TOKEN, KEY))
    for name in TOKEN.__slots__:
        assert getattr(verified, name) == getattr(TOKEN, name), name
    assert verified.kid == KEY.kid
    assert verified.not_before is None


def test_the_header_is_the_contract_s() -> None:
    """`alg`, `typ` and `kid` and nothing else; claims without a value are left out, not null."""
    bare = AccessToken(ISSUER, "sub", AUDIENCE, "client", int(NOW), int(NOW) + 1, "jti")
    header, payload, _ = encode(bare, KEY).split(".")
    assert json.loads(base64url.decode(header)) == {"alg": "RS256", "typ": "at+jwt", "kid": KEY.kid}
    assert json.loads(base64url.decode(payload)).keys() == {"iss", "sub", "aud", "client_id", "iat", "exp", "jti"}


def test_only_the_standard_profile_claims_travel() -> None:
    """A profile cannot smuggle another claim into a token, nor overwrite one (contract, access token)."""
    token = AccessToken(
        ISSUER, "sub", AUDIENCE, "c", 1, 2, "jti", profile={"name": "N", "sub": "other", "password": "x", "email": None}
    )
    claims = json.loads(base64url.decode(encode(token, KEY).split(".")[1]))
    assert claims["sub"] == "sub"
    assert claims.keys() == {"iss", "sub", "aud", "client_id", "iat", "exp", "jti", "name"}


def test_foreign_verifiers_accept_our_tokens() -> None:
    """PyJWT and joserfc read a token of ours with the public key alone."""
    text = encode(TOKEN, KEY)
    public_key = KEY.public_jwk.public_key
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(text, public_key, ["RS256"], audience=AUDIENCE, issuer=ISSUER, options=options)
    jwk: Any = KEY.public_jwk.as_json_object()
    assert joserfc_jwt.decode(text, RSAKey.import_key(jwk), algorithms=["RS256"]).claims == claims
    assert claims["preferred_username"] == "zoë"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_signs_and_verifies(algorithm: str) -> None:
    """A token of each configurable algorithm is accepted where that algorithm is allowed, and nowhere else."""
    key = signing_key(algorithm)
    keys = {key.kid: key.public_jwk}
    text = encode(TOKEN, key)
    allowed = AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE, algorithms=frozenset({algorithm})))
    assert allowed.decode(text, keys, NOW).subject == TOKEN.subject
    other = "ES256" if algorithm != "ES256" else "RS256"
    with pytest.raises(InvalidToken) as refused:
        AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE, algorithms=frozenset({other}))).decode(text, keys, NOW)
    assert refused.value.fault is TokenFault.ALGORITHM


def test_only_the_decoder_makes_a_verified_token() -> None:
    """A verified token cannot be constructed, changed, copied or read back from bytes."""
    verified = decode(mint())
    with pytest.raises(TypeError):
        VerifiedAccessToken()
    with pytest.raises(AttributeError):
        verified.subject = "other"
    with pytest.raises(AttributeError):
        del verified.subject
    with pytest.raises(AttributeError):
        verified.extra = 1
    for escape in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            escape(verified)


def test_what_a_verified_token_hands_out_cannot_be_changed() -> None:
    """The same object serves many requests, so its claims are read-only to the bottom."""
    verified = decode(mint(claims={"roles": [{"name": "a", "on": ["x"]}], "aud": [AUDIENCE, "other"]}))
    with pytest.raises(TypeError):
        verified.claims["sub"] = "other"  # type: ignore[index]
    assert verified.claims["roles"] == ({"name": "a", "on": ("x",)},)
    with pytest.raises(TypeError):
        verified.claims["roles"][0]["name"] = "b"
    assert verified.audience == (AUDIENCE, "other")


def test_no_text_of_a_token_shows_the_token() -> None:
    """Neither `repr` nor the identity for the log holds a segment of the token."""
    text = mint()
    verified = decode(text)
    for shown in (repr(verified), str(verified), str(verified.identity())):
        assert not any(segment in shown for segment in text.split("."))
    assert verified.identity() == {
        "iss": ISSUER,
        "sub": verified.subject,
        "client_id": "first-party",
        "jti": "a-token",
        "kid": KEY.kid,
    }


@pytest.mark.parametrize("value", ["true", "false", 1, 0, None, [True], False])
def test_only_true_verifies_an_address(value: object) -> None:
    """`email_verified` is believed only when it is the JSON value true (CVE-2026-55076)."""
    assert decode(mint(claims={"email": "a@example.org", "email_verified": value})).profile["email_verified"] is False
    assert decode(mint(claims={"email_verified": True})).profile["email_verified"] is True


def test_a_profile_has_texts_only() -> None:
    """A name that is no text is left out rather than handed to a handler."""
    assert decode(mint(claims={"name": ["a"], "email": {"a": 1}, "preferred_username": "u"})).profile == {
        "preferred_username": "u"
    }


def test_a_client_that_acts_for_itself_can_be_told() -> None:
    """RFC 9068 section 5: where subject and client are one, no user is there."""
    assert decode(mint(claims={"sub": "first-party"})).is_of_client
    assert not decode(mint()).is_of_client


def test_a_token_without_scope_has_the_empty_one() -> None:
    """No scope is the least, not all (CVE-2026-54560)."""
    assert decode(mint(claims={"scope": None})).scope == Scope()


def test_a_known_header_is_not_read_again_and_not_trusted_more() -> None:
    """A remembered header leads to the same checks: key, signature and claims decide as before."""
    decoder = AccessTokenDecoder(RULES)
    decoder.decode(mint(), KEYS, NOW)
    assert len(decoder._known_headers) == 1
    for token, fault in [
        (mint()[:-4] + "AAAA", TokenFault.SIGNATURE),
        (mint(claims={"iss": "other"}), TokenFault.ISSUER),
    ]:
        with pytest.raises(InvalidToken) as refused:
            decoder.decode(token, KEYS, NOW)
        assert refused.value.fault is fault
    with pytest.raises(InvalidToken) as refused:
        decoder.decode(mint(), {}, NOW)
    assert refused.value.fault is TokenFault.UNKNOWN_KEY


def test_headers_are_remembered_for_good_tokens_only_and_within_a_bound() -> None:
    """Nobody without the signing key can fill the memory of headers, and its holder not beyond its bound."""
    decoder = AccessTokenDecoder(RULES)
    for number in range(10):
        with pytest.raises(InvalidToken):
            decoder.decode(mint(header={"x": number}) + "A", KEYS, NOW)
    assert decoder._known_headers == {}
    for number in range(MAX_KNOWN_HEADERS + 5):
        decoder.decode(mint(header={"x": number}), KEYS, NOW)
    assert 0 < len(decoder._known_headers) <= MAX_KNOWN_HEADERS


def test_a_key_is_used_for_its_own_id_and_algorithm_only() -> None:
    """One key, one algorithm, enforced where it is used (RFC 8725 section 3.1)."""
    decoder = AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE, algorithms=frozenset({"RS256", "PS256"})))
    unverified = decoder.read(mint())
    for key in (signing_key("PS256").public_jwk, signing_key("RS256", 1).public_jwk):
        with pytest.raises(InvalidToken) as refused:
            decoder.verify(unverified, key, NOW)
        assert refused.value.fault is TokenFault.ALGORITHM


def test_plausible_is_what_would_pass_if_it_were_signed() -> None:
    """Before a key set is fetched again for an unknown key, the claims must be worth it (reference, section 1.4)."""
    decoder = AccessTokenDecoder(RULES)
    stranger = signing_key("RS256", 1)
    assert decoder.is_plausible(decoder.read(mint(key=stranger)), NOW)
    for claims in ({"iss": "other"}, {"aud": "other"}, {"exp": int(NOW) - 10}, {"sub": ""}):
        assert not decoder.is_plausible(decoder.read(mint(key=stranger, claims=claims)), NOW)
    nonsense = sign_bytes(json.dumps(header_of(stranger)).encode(), b"not json", stranger)
    assert not decoder.is_plausible(decoder.read(nonsense), NOW)


def test_the_issuer_can_be_peeked_at() -> None:
    """The claimed issuer of a well-formed token; None when there is nothing to read, InvalidToken for no token."""
    assert peek_issuer(mint()) == ISSUER
    assert peek_issuer(mint(claims={"iss": ["a"]})) is None
    assert peek_issuer(sign_bytes(b"{}", b"[]")) is None
    assert peek_issuer(sign_bytes(b"{}", b"x")) is None
    with pytest.raises(InvalidToken):
        peek_issuer("a.b")


def test_time_is_checked_again_later() -> None:
    """`check_time` refuses at the same instants as decoding does."""
    decoder = AccessTokenDecoder(TokenRules(ISSUER, AUDIENCE, max_age=200))
    verified = decoder.decode(mint(claims={"nbf": int(NOW) + 3}), KEYS, NOW)
    decoder.check_time(verified, NOW)
    for now, fault in [
        (NOW - 3, TokenFault.NOT_YET_VALID),
        (NOW - 16, TokenFault.NOT_YET_VALID),
        (NOW + 191, TokenFault.TOO_OLD),
        (NOW + 295, TokenFault.EXPIRED),
    ]:
        with pytest.raises(InvalidToken) as refused:
            decoder.check_time(verified, now)
        assert refused.value.fault is fault
    early = decoder.decode(mint(), KEYS, NOW)
    with pytest.raises(InvalidToken) as refused:
        decoder.check_time(early, NOW - 16)
    assert refused.value.fault is TokenFault.ISSUED_IN_FUTURE


PLAIN = {"typ": "JWT"}


def test_a_plain_jwt_is_served_by_its_profile_and_not_by_default() -> None:
    """`typ` JWT or none, `scp` as a list, `azp` and no `jti` pass in the named profile only."""
    absent = {"client_id": None, "jti": None, "scope": None}
    token = mint(header=PLAIN, claims={**absent, "azp": "app", "scp": ["data:read", "data:write"]})
    with pytest.raises(InvalidToken) as refused:
        decode(token)
    assert refused.value.fault is TokenFault.TYPE
    verified = decode(token, profile=PLAIN_JWT)
    assert (verified.client_id, verified.token_id, str(verified.scope)) == ("app", "", "data:read data:write")
    assert decode(mint(header={"typ": "at+jwt"}), profile=PLAIN_JWT).client_id == "first-party"
    assert decode(mint(header=PLAIN, claims={"scope": ""}), profile=PLAIN_JWT).scope == Scope()
    assert decode(mint(header=PLAIN, claims={"scope": None, "scp": "a b"}), profile=PLAIN_JWT).scope == Scope("a", "b")
    assert decode(mint(header=PLAIN, claims={"jti": None, "uti": "u"}), profile=PLAIN_JWT).token_id == "u"


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"nonce": "n"}, TokenFault.OTHER_KIND),
        ({"at_hash": "h"}, TokenFault.OTHER_KIND),
        ({"c_hash": "h"}, TokenFault.OTHER_KIND),
        ({"events": {}}, TokenFault.OTHER_KIND),
        ({"typ": "Refresh"}, TokenFault.OTHER_KIND),
        ({"typ": "ID"}, TokenFault.OTHER_KIND),
        ({"token_use": "id"}, TokenFault.OTHER_KIND),
        ({"htm": "GET", "htu": "x"}, TokenFault.OTHER_KIND),
        ({"scope": ["a", 1]}, TokenFault.SCOPE),
        ({"scope": ["a b"]}, TokenFault.SCOPE),
        ({"client_id": None}, TokenFault.CLIENT),
        ({"jti": 1}, TokenFault.TOKEN_ID),
    ],
    ids=str,
)
def test_the_plain_profile_still_tells_other_kinds_of_token_apart(claims: dict[str, Any], fault: TokenFault) -> None:
    """Without a type of their own, ID, refresh, logout and event tokens are told by their claims (RFC 8725 3.12)."""
    with pytest.raises(InvalidToken) as refused:
        decode(mint(header=PLAIN, claims=claims), profile=PLAIN_JWT)
    assert refused.value.fault is fault


def test_profiles_have_names() -> None:
    """A profile is chosen by its documented name."""
    assert PROFILES == {"rfc9068": RFC9068, "plain-jwt": PLAIN_JWT}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"issuer": ""}, "issuer and an audience"),
        ({"audience": ""}, "issuer and an audience"),
        ({"algorithms": frozenset()}, "algorithms"),
        pytest.param({"algorithms": frozenset({"RS256", "none"})}, "algorithms", id="RS256 or none"),
        ({"algorithms": frozenset({"HS256"})}, "algorithms"),
        ({"leeway": 61}, "leeway"),
        ({"leeway": -1}, "leeway"),
        ({"max_lifetime": 0}, "lifetime"),
        ({"max_age": 0}, "age"),
    ],
    ids=str,
)
def test_rules_that_would_skip_a_check_cannot_be_made(settings: dict[str, Any], complaint: str) -> None:
    """No audience, no issuer or no algorithm never means "do not check" (CVE-2026-55689, CVE-2026-30223)."""
    with pytest.raises(ValueError, match=complaint):
        TokenRules(**{"issuer": ISSUER, "audience": AUDIENCE} | settings)


@given(st.text(max_size=300) | st.text("abc.-_=", max_size=300))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    """Text that is no token ends in InvalidToken, whatever it is."""
    with pytest.raises(InvalidToken):
        decode(text)


def test_the_encoder_writes_no_number_that_is_not_json() -> None:
    """A claim that JSON cannot spell is our own mistake and stops the encoder."""
    token = AccessToken(ISSUER, "sub", AUDIENCE, "c", float("nan"), 2, "jti")
    with pytest.raises(ValueError, match="JSON"):
        access_token.encode(token, KEY)
