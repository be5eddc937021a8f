"""The session's moves, and its refresh tokens as a state machine against a model of the rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auth_service.model.refresh_token import RefreshToken, new_successor_salt
from auth_service.model.session import (
    EndReason,
    Refusal,
    Refused,
    Repeated,
    Rotated,
    Session,
    SessionPolicy,
)
from tests.auth_service.stored import GRANT, NOW, POLICY, session

TICK = 0.001


def present(one: Session, token: RefreshToken, at: float) -> Rotated | Repeated | Refused:
    return one.present(token, salt=new_successor_salt(), policy=POLICY, at=at)


def rotated(one: Session, token: RefreshToken, at: float) -> Rotated:
    outcome = present(one, token, at)
    assert isinstance(outcome, Rotated)
    return outcome


def test_the_newest_token_is_followed_by_another() -> None:
    """Each use makes the used token the parent and gives one successor, which the session then knows as newest."""
    opened, first = session("alice")
    outcome = rotated(opened, first, NOW + 1)
    assert outcome.successor != first
    chain = outcome.session.chain
    assert (chain.newest_hash, chain.generation) == (outcome.successor.secret_hash, 1)
    assert chain.parent is not None
    assert chain.parent.secret_hash == first.secret_hash


@pytest.mark.parametrize("age", [0, POLICY.grace - TICK, POLICY.grace])
def test_the_parent_comes_again_inside_the_grace(age: float) -> None:
    """Up to and at the end of the grace the immediate parent gets the same successor, as often as it comes."""
    opened, first = session("alice")
    once = rotated(opened, first, NOW)
    for _ in range(3):
        again = present(once.session, first, NOW + age)
        assert again == Repeated(once.session, once.successor)


def test_the_parent_after_the_grace_is_a_copy() -> None:
    """A tick later it ends the session, and then not even the newest token is honoured."""
    opened, first = session("alice")
    once = rotated(opened, first, NOW)
    outcome = present(once.session, first, NOW + POLICY.grace + TICK)
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.REUSED
    assert outcome.session.end_reason is EndReason.TOKEN_REUSED
    assert present(outcome.session, once.successor, NOW + POLICY.grace + TICK) == Refused(
        Refusal.ENDED, outcome.session
    )


def test_using_the_successor_closes_the_window() -> None:
    """Inside the grace too, a parent whose successor was used is a copy (django-oauth-toolkit #1617)."""
    opened, first = session("alice")
    once = rotated(opened, first, NOW)
    twice = rotated(once.session, once.successor, NOW)
    outcome = present(twice.session, first, NOW)
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.REUSED


def test_a_token_of_the_session_that_was_never_given_out_ends_it() -> None:
    """Who knows the handle holds, or held, a token of this session: a wrong secret can only be a copy."""
    opened, first = session("alice")
    outcome = present(opened, RefreshToken(first.handle, bytes(32)), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.REUSED


def test_without_grace_every_repeat_is_a_copy() -> None:
    """A grace of zero is for those who would rather sign in again; a repeat in the same instant still passes."""
    opened, first = session("alice")
    strict = replace(POLICY, grace=0)
    once = opened.present(first, salt=new_successor_salt(), policy=strict, at=NOW)
    again = once.session.present(first, salt=new_successor_salt(), policy=strict, at=NOW + TICK)
    assert isinstance(again, Refused)
    assert again.refusal is Refusal.REUSED


def test_a_clock_set_back_ends_no_honest_session() -> None:
    """A repeat that seems to come before its first use is inside the grace, and the last use does not go back."""
    opened, first = session("alice")
    once = rotated(opened, first, NOW + 100)
    assert isinstance(present(once.session, first, NOW), Repeated)
    assert rotated(once.session, once.successor, NOW).session.last_used_at == NOW + 100


def test_a_session_expires_without_use_and_in_all() -> None:
    """The idle end moves with each use, the absolute one never; each boundary is already over."""
    opened, token = session("alice")
    assert isinstance(present(opened, token, opened.idle_expires_at - TICK), Rotated)
    assert present(opened, token, opened.idle_expires_at) == Refused(Refusal.EXPIRED, opened)
    current, at = opened, NOW
    while at < opened.expires_at - TICK:
        step = rotated(current, token, at)
        current, token = step.session, step.successor
        assert current.idle_expires_at <= current.expires_at == opened.expires_at
        at = min(at + POLICY.idle_timeout - 1, max(at + 1, opened.expires_at - TICK))
    assert present(current, token, opened.expires_at) == Refused(Refusal.EXPIRED, current)


def test_a_session_ends_once() -> None:
    """The first reason and instant stay."""
    ended = session("alice")[0].end(EndReason.LOGOUT, at=NOW)
    assert ended.end(EndReason.TOKEN_REUSED, at=NOW + 1) == ended
    assert not ended.is_live(NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"grace": 60.001},
        {"grace": -1},
        {"idle_timeout": 0},
        {"idle_timeout": 10_001, "absolute_lifetime": 10_000},
        {"idle_timeout": float("nan")},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """A grace beyond a minute, and lifetimes that contradict each other, cannot be configured."""
    with pytest.raises(ValueError, match="must be"):
        SessionPolicy(**wrong)


class RefreshMachine(RuleBasedStateMachine):
    """Uses, repeats, lost answers and copies in any order, beside a model that keeps the whole history.

    The model remembers every token in the order they were made and when each was first used; the rules follow from
    that alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session, first = session("alice")
        self.at = NOW
        self.history = [first]
        self.first_used_at: dict[RefreshToken, float] = {}
        self.is_over = False
        self.seen_successors: dict[RefreshToken, RefreshToken] = {}

    @rule(seconds=st.sampled_from([0.0, TICK, 1.0, 5.0, POLICY.grace, POLICY.grace + TICK, 900.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.at += seconds

    @precondition(lambda self: not self.is_over)
    @rule(back=st.integers(min_value=0, max_value=5))
    def present(self, back: int) -> None:
        """Somebody presents the newest token, the parent, or one that is older still."""
        token = self.history[-1 - min(back, len(self.history) - 1)]
        outcome = present(self.session, token, self.at)
        self.session = outcome.session
        if self.at >= min(self._last_use() + POLICY.idle_timeout, NOW + POLICY.absolute_lifetime):
            assert outcome == Refused(Refusal.EXPIRED, self.session)
            self.is_over = True
        elif token == self.history[-1]:
            assert isinstance(outcome, Rotated)
            self.first_used_at[token] = self.at
            self.seen_successors[token] = outcome.successor
            self.history.append(outcome.successor)
        elif token == self.history[-2] and self.at - self.first_used_at[token] <= POLICY.grace:
            assert outcome == Repeated(self.session, self.seen_successors[token])
        else:
            assert isinstance(outcome, Refused)
            assert outcome.refusal is Refusal.REUSED
            self.is_over = True

    @precondition(lambda self: not self.is_over)
    @rule()
    def use_and_lose_the_answer(self) -> None:
        """The honest client's answer is lost; it comes again with the same token, at once, and goes on."""
        self.present(0)
        if not self.is_over:
            self.present(1)
            self.present(0)

    @precondition(lambda self: not self.is_over)
    @rule()
    def end(self) -> None:
        """The user signs out."""
        self.session = self.session.end(EndReason.LOGOUT, at=self.at)
        self.is_over = True

    @precondition(lambda self: self.is_over)
    @rule(back=st.integers(min_value=0, max_value=5))
    def present_after_the_end(self, back: int) -> None:
        """No token of a session that is over is honoured, whichever and whenever."""
        outcome = present(self.session, self.history[-1 - min(back, len(self.history) - 1)], self.at)
        assert isinstance(outcome, Refused)

    @invariant()
    def never_grows(self) -> None:
        """Scope, audience, owner and the absolute end are those of the sign-in."""
        assert (self.session.grant, self.session.sub) == (GRANT, "alice")
        assert self.session.expires_at == NOW + POLICY.absolute_lifetime

    @invariant()
    def one_live_token(self) -> None:
        """Every token has at most one successor, and nothing kept by the server is a token."""
        assert len(set(self.history)) == len(self.history)
        chain, parent = self.session.chain, self.session.chain.parent
        kept = {chain.handle_hash, chain.newest_hash}
        if parent is not None:
            kept |= {parent.secret_hash, parent.successor_salt}
        assert kept.isdisjoint({part for token in self.history for part in (token.handle, token.secret)})

    def _last_use(self) -> float:
        return max([NOW, *self.first_used_at.values()])


TestRefreshMachine = RefreshMachine.TestCase
TestRefreshMachine.settings = settings(stateful_step_count=40)
