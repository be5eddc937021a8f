"""The scope value (RFC 6749 section 3.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scope import MAX_SCOPE_LENGTH, Scope

TOKENS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=20
)


@given(st.lists(TOKENS, min_size=1, max_size=10))
def test_a_scope_is_its_tokens_in_the_order_written(tokens: list[str]) -> None:
    """Parsing and writing keep the order; a token that is repeated counts once."""
    scope = Scope.parse(" ".join(tokens))
    assert str(scope) == " ".join(dict.fromkeys(tokens))
    assert list(scope) == list(dict.fromkeys(tokens))
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text",
    ["", " ", " a", "a ", "a  b", "a\tb", "a\nb", 'a"b', "a\\b", "ä", "a\x7f", "a\x00", "a\u2003b"],
    ids=ascii,
)
def test_anything_but_tokens_between_single_spaces_is_refused(text: str) -> None:
    """The grammar is held to the letter: single spaces, printable ASCII without quotation mark and backslash."""
    with pytest.raises(ValueError, match="not a scope"):
        Scope.parse(text)


def test_a_scope_has_a_bound() -> None:
    """A scope text longer than the bound is refused without being looked at."""
    Scope.parse("a" * MAX_SCOPE_LENGTH)
    with pytest.raises(ValueError, match="not a scope"):
        Scope.parse("a" * (MAX_SCOPE_LENGTH + 1))


def test_tokens_are_checked_one_by_one_too() -> None:
    """A scope made from tokens holds tokens only."""
    with pytest.raises(ValueError, match="not a scope token"):
        Scope("data:read", "a b")


def test_a_scope_is_a_set() -> None:
    """Order does not matter to equality, and case does; the set operations keep the left side's order."""
    both = Scope.parse("data:write data:read")
    assert both == Scope("data:read", "data:write")
    assert hash(both) == hash(Scope("data:read", "data:write"))
    assert both != Scope("Data:read", "data:write")
    assert both != "data:write data:read"
    assert Scope("data:read") <= both
    assert not both <= Scope("data:read")
    assert "data:read" in both
    assert "data" not in both
    assert str(both & Scope("data:read", "data:write", "x")) == "data:write data:read"
    assert str(both | Scope("x", "data:read")) == "data:write data:read x"
    assert str(both - Scope("data:write")) == "data:read"
    assert both.isdisjoint(Scope("x"))
    assert len(both) == 2


def test_the_empty_scope_is_false_and_within_every_other() -> None:
    """No scope is a value of its own, though no text spells it."""
    assert not Scope()
    assert Scope() <= Scope("a")
    assert str(Scope()) == ""
    assert repr(Scope()) == "Scope()"
    assert repr(Scope("a")) == "Scope.parse('a')"


def test_a_scope_cannot_be_changed() -> None:
    """Scopes are shared between requests, so nobody can write to one."""
    scope = Scope("a")
    with pytest.raises(AttributeError):
        scope.extra = "b"
    with pytest.raises(AttributeError):
        del scope.tokens
