"""The moves of an account."""

from __future__ import annotations

from auth_service.model.account import AccountState, new_subject
from tests.auth_service.stored import NOW, account


def test_a_subject_is_never_given_twice() -> None:
    """Subjects are 128 random bits, chosen by nobody (hostile case: CVE-2026-55670)."""
    subjects = {new_subject() for _ in range(1_000)}
    assert len(subjects) == 1_000
    assert {len(subject) for subject in subjects} == {22}


def test_a_new_password_is_told_from_the_old_one_by_its_instant() -> None:
    """Also when the clock stands still or was set back, a change is later than the one before."""
    changed = account().with_password("$new", at=NOW - 5)
    again = changed.with_password("$newer", at=changed.password_changed_at)
    assert NOW < changed.password_changed_at < again.password_changed_at < NOW + 1e-3
    assert account().with_password("$new", at=NOW + 5).password_changed_at == NOW + 5


def test_a_new_hash_of_the_same_password_is_no_change_of_password() -> None:
    """Rehashing moves nothing but the hash."""
    before = account()
    after = before.with_rehashed_password("$new")
    assert (after.password_hash, after.password_changed_at) == ("$new", before.password_changed_at)


def test_a_disabled_account_can_be_enabled() -> None:
    """The state is the only thing that moves."""
    before = account()
    assert not before.disabled().is_active
    assert before.disabled().state is AccountState.DISABLED
    assert before.disabled().enabled() == before


def test_the_hash_stays_out_of_the_repr() -> None:
    """What is logged or raised with an account in it shows no hash."""
    assert "argon2" not in repr(account())
