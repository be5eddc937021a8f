"""A signing key's legal moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from auth_service.model.signing_key import IllegalKeyMove, KeyState, SealedPrivateKey, SigningKeyRecord

AT = 1_800_000_100.0
SEALED = SealedPrivateKey("master", b"box")
MOVES: dict[str, tuple[Callable[[SigningKeyRecord], SigningKeyRecord], set[KeyState], KeyState]] = {
    "activated": (lambda key: key.activated(AT), {KeyState.PENDING}, KeyState.ACTIVE),
    "superseded": (lambda key: key.superseded(AT), {KeyState.ACTIVE}, KeyState.RETIRING),
    "retired": (lambda key: key.retired(AT), {KeyState.RETIRING}, KeyState.RETIRED),
    "revoked": (
        lambda key: key.revoked(AT),
        {KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING},
        KeyState.REVOKED,
    ),
}


def key_in(state: KeyState) -> SigningKeyRecord:
    ended = state in (KeyState.RETIRED, KeyState.REVOKED)
    sealed = None if ended else SEALED
    return SigningKeyRecord("kid", state, "RS256", 2048, "{}", sealed, AT - 100, AT - 50, AT - 40)


@pytest.mark.parametrize("state", KeyState)
@pytest.mark.parametrize("move", MOVES)
def test_a_key_goes_only_where_its_state_leads(state: KeyState, move: str) -> None:
    """Every move is legal from its own sources only; it notes the instant, and its wait has not begun."""
    make, sources, target = MOVES[move]
    before = key_in(state)
    if state not in sources:
        with pytest.raises(IllegalKeyMove):
            make(before)
        return
    after = make(before)
    assert (after.state, after.changed_at, after.observed_at) == (target, AT, None)
    assert (after.sealed is None) == (target in (KeyState.RETIRED, KeyState.REVOKED))


def test_a_state_is_seen_committed_once() -> None:
    """The wait begins at the first sight; a later one does not prolong it."""
    seen = key_in(KeyState.PENDING).activated(AT).observed(AT + 1)
    assert seen.observed_at == AT + 1
    with pytest.raises(IllegalKeyMove):
        seen.observed(AT + 2)


def test_sealing_anew_changes_nothing_else() -> None:
    """Neither the state nor the waits of a key depend on the master key."""
    anew = SealedPrivateKey("another", b"another box")
    before = key_in(KeyState.ACTIVE)
    after = before.resealed(anew)
    assert after.sealed == anew
    assert after.resealed(SEALED) == before


@pytest.mark.parametrize("state", [KeyState.RETIRED, KeyState.REVOKED])
def test_a_destroyed_private_part_does_not_come_back(state: KeyState) -> None:
    """A key that came to its end cannot be given a private part."""
    with pytest.raises(IllegalKeyMove):
        key_in(state).resealed(SEALED)


@pytest.mark.parametrize("state", KeyState)
def test_what_is_published_is_told_by_the_state(state: KeyState) -> None:
    """Pending, active and retiring keys are in the key set, the others are not."""
    assert key_in(state).is_published == (state in (KeyState.PENDING, KeyState.ACTIVE, KeyState.RETIRING))
