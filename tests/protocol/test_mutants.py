"""Mutants of valid tokens: none is accepted, and none does anything but be refused."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from shared.access_token import AccessTokenDecoder, VerifiedAccessToken
from shared.bearer import InvalidToken
from tests.protocol.minting import AUDIENCE, ISSUER, NOW, RULES, claims_of, header_of, sign_bytes, signing_key
from tests.protocol.mutants import CLAIM_NAMES, HEADER_NAMES, NASTY, mutant, valid_tokens

MUTANTS = int(os.environ.get("SIGNET_TEST_MUTANTS", "200000"))
"""How many the long test makes; a developer who changed the decoder may want a million."""
BATCH = 100
"""Mutants for one example: drawing them one by one would take hypothesis longer than everything else."""
SEEDS = st.integers(0, 2**64)
KEYS = {signing_key().kid: signing_key().public_jwk}


def decode(token: str) -> VerifiedAccessToken | None:
    try:
        return AccessTokenDecoder(RULES).decode(token, KEYS, NOW)
    except InvalidToken:
        return None


def check_batch(seed: int) -> None:
    random = Random(seed)
    for _ in range(BATCH):
        token = mutant(random)
        if decode(token) is not None:
            note(token)
            raise AssertionError("a mutant was accepted")


def test_what_is_mutated_was_valid() -> None:
    """The mutants start from tokens that are accepted; otherwise they would show nothing."""
    assert all(decode(token) is not None for token in valid_tokens())


@given(SEEDS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_few_thousand_mutants(seed: int) -> None:
    """No mutant is accepted and none raises anything but a refusal: the quick look."""
    check_batch(seed)


@pytest.mark.slow
@given(SEEDS)
@settings(max_examples=MUTANTS // BATCH, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_many_mutants(seed: int) -> None:
    """No mutant is accepted and none raises anything but a refusal: the long look."""
    check_batch(seed)


MEMBERS = st.sampled_from(NASTY)


@given(
    st.dictionaries(st.sampled_from(HEADER_NAMES), MEMBERS, max_size=3),
    st.dictionaries(st.sampled_from(CLAIM_NAMES), MEMBERS, max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_issuer_signs_is_judged_by_the_rules(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """A token that was really signed is refused, or it is what the rules say in every point: nothing in between."""
    token = sign_bytes(
        json.dumps(header_of(signing_key()) | header).encode(), json.dumps(claims_of() | claims).encode()
    )
    verified = decode(token)
    if verified is None:
        return
    assert verified.issuer == ISSUER
    assert AUDIENCE in (verified.audience if isinstance(verified.audience, tuple) else (verified.audience,))
    assert verified.issued_at - 5 <= NOW < verified.expires_at + 5
    assert verified.not_before is None or verified.not_before <= NOW + 5
    assert verified.expires_at - verified.issued_at <= 900
    assert all(
        text.strip() and text.isprintable() for text in (verified.subject, verified.client_id, verified.token_id)
    )
    assert verified.claims.get("cnf") is None
    assert not {"crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c"} & header.keys()
