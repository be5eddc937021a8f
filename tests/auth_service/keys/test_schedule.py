"""The rotation's arithmetic, at its boundary instants."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.keys.schedule import DAY_SECONDS, KeySettings, due_changes, newcomer, next_change_at
from auth_service.model.signing_key import KeyState, SealedPrivateKey, SigningKeyRecord

NOW = 1_800_000_000.0
SETTINGS = KeySettings()


def record(kid: str, state: KeyState, observed_at: float | None = NOW, changed_at: float = NOW) -> SigningKeyRecord:
    ended = state in (KeyState.RETIRED, KeyState.REVOKED)
    return SigningKeyRecord(
        kid=kid,
        state=state,
        algorithm="RS256",
        key_bits=2048,
        public_jwk="{}",
        sealed=None if ended else SealedPrivateKey("master", b"box"),
        created_at=NOW,
        changed_at=changed_at,
        observed_at=observed_at,
    )


ACTIVE = record("active", KeyState.ACTIVE)
PENDING = record("pending", KeyState.PENDING)
RETIRING = record("retiring", KeyState.RETIRING)


def moves(published: list[SigningKeyRecord], now: float) -> list[tuple[str, KeyState]]:
    return [(change.after.kid, change.after.state) for change in due_changes(published, now, SETTINGS)]


def test_the_waits_add_up() -> None:
    """A new key waits for at least twice the max-age and the clocks' difference; an old one for its last token."""
    assert SETTINGS.propagation_seconds == 300 + 2 * 300 + 60
    assert SETTINGS.propagation_seconds >= 2 * SETTINGS.max_age_seconds + SETTINGS.clock_difference_seconds
    assert SETTINGS.retention_seconds == 30 + 900 + 60 + 2 * 60


@pytest.mark.parametrize(
    "unfit",
    [
        {"key_bits": 1024},
        {"refresh_seconds": 0},
        {"refresh_seconds": 30, "signing_lease_seconds": 30},
        {"signing_lease_seconds": 301},
        {"token_seconds": -1},
        {"clock_difference_seconds": -1},
        {"leeway_seconds": -1},
        {"max_age_seconds": 0},
        {"rotation_seconds": 960},
    ],
)
def test_settings_that_break_a_promise_are_refused(unfit: dict[str, float]) -> None:
    """Values that do not fit together are an error at start, not a rotation that fails later."""
    with pytest.raises(ValueError, match=r"bits|lease|negative|successor"):
        KeySettings(**unfit)  # type: ignore[arg-type]


def test_the_first_key_signs_at_once() -> None:
    """Nobody can have cached a key set without it."""
    assert newcomer([], NOW, SETTINGS) is KeyState.ACTIVE


def test_a_successor_is_made_so_early_that_it_can_sign_in_time() -> None:
    """Published for the whole propagation when the active key's time is over."""
    due = NOW + 30 * DAY_SECONDS - SETTINGS.propagation_seconds
    assert newcomer([ACTIVE], math.nextafter(due, 0), SETTINGS) is None
    assert newcomer([ACTIVE], due, SETTINGS) is KeyState.PENDING
    assert newcomer([ACTIVE, PENDING], due, SETTINGS) is None


def test_a_pending_key_takes_over_exactly_when_it_has_waited() -> None:
    """Not an instant before; and the former key makes place first."""
    due = NOW + SETTINGS.propagation_seconds
    assert moves([ACTIVE, PENDING], math.nextafter(due, 0)) == []
    assert moves([ACTIVE, PENDING], due) == [("active", KeyState.RETIRING), ("pending", KeyState.ACTIVE)]


def test_a_wait_counts_from_when_the_state_was_seen_committed() -> None:
    """A writer that was suspended before its commit does not shorten the wait."""
    written_long_ago = replace(PENDING, observed_at=None, changed_at=NOW - DAY_SECONDS)
    (change,) = due_changes([ACTIVE, written_long_ago], NOW, SETTINGS)
    assert change.after.state is KeyState.PENDING
    assert change.after.observed_at == NOW


def test_a_retiring_key_leaves_exactly_when_its_last_token_has_expired() -> None:
    """Its private part is destroyed with that."""
    due = NOW + SETTINGS.retention_seconds
    assert moves([ACTIVE, RETIRING], math.nextafter(due, 0)) == []
    (change,) = due_changes([ACTIVE, RETIRING], due, SETTINGS)
    assert change.after.state is KeyState.RETIRED
    assert change.after.sealed is None


def test_without_an_active_key_the_pending_one_takes_over_at_once() -> None:
    """Somebody has to sign, and some caches have it already."""
    unseen = replace(PENDING, observed_at=None)
    assert moves([unseen], NOW) == [("pending", KeyState.ACTIVE)]
    assert newcomer([unseen], NOW, SETTINGS) is None


@given(
    st.lists(
        st.builds(
            record,
            kid=st.uuids().map(str),
            state=st.sampled_from([KeyState.RETIRING, KeyState.RETIRING, KeyState.ACTIVE, KeyState.PENDING]),
            observed_at=st.none() | st.floats(NOW - 1e7, NOW + 1e7),
        ),
        unique_by=lambda stored: stored.state.value if stored.state is not KeyState.RETIRING else stored.kid,
    ),
    st.floats(NOW - 1e7, NOW + 1e7),
)
def test_one_step_leaves_at_most_one_key_in_each_place(published: list[SigningKeyRecord], now: float) -> None:
    """Whatever is stored: after each single change at most one key is active and at most one pending."""
    stored = {key.kid: key for key in published}
    for change in due_changes(published, now, SETTINGS):
        assert stored[change.before.kid] is change.before
        stored[change.after.kid] = change.after
        states = [key.state for key in stored.values()]
        assert states.count(KeyState.ACTIVE) <= 1
        assert states.count(KeyState.PENDING) <= 1
    if any(key.state in (KeyState.ACTIVE, KeyState.PENDING) for key in published):
        assert any(key.state is KeyState.ACTIVE for key in stored.values())


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (PENDING, NOW + SETTINGS.propagation_seconds),
        (ACTIVE, NOW + SETTINGS.rotation_seconds),
        (RETIRING, NOW + SETTINGS.retention_seconds),
        (replace(PENDING, observed_at=None, changed_at=NOW + 5), NOW + 5 + SETTINGS.propagation_seconds),
        (record("gone", KeyState.RETIRED), None),
        (record("gone", KeyState.REVOKED), None),
    ],
)
def test_an_operator_is_told_what_comes_next(stored: SigningKeyRecord, expected: float | None) -> None:
    """The instant at which the schedule will move the key; none for one that came to its end."""
    assert next_change_at(stored, SETTINGS) == expected
