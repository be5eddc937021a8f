"""If-Match and If-None-Match as RFC 9110 sections 13.1.1 and 13.1.2 have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from resource_service.user_data.preconditions import UNCONDITIONAL, EntityTags, Preconditions, parse_preconditions
from shared.errors import InvalidRequest


def parse(*fields: tuple[str, str]) -> Preconditions:
    return parse_preconditions(CIMultiDictProxy(CIMultiDict(fields)))


def if_match(value: str) -> EntityTags:
    tags = parse(("If-Match", value)).if_match
    assert tags is not None
    return tags


def test_no_field_is_no_condition() -> None:
    """Without the fields everything may go on."""
    assert parse(("Accept", "*/*")) is UNCONDITIONAL
    assert UNCONDITIONAL.hold("a")
    assert UNCONDITIONAL.hold(None)


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        ('"a"', {"a"}, set()),
        ('W/"a"', set(), {"a"}),
        ('"a", "b"', {"a", "b"}, set()),
        ('"a","b",W/"c"', {"a", "b"}, {"c"}),
        (' \t"a" \t,\t "b" ', {"a", "b"}, set()),
        (', "a",, ,"b",', {"a", "b"}, set()),
        ('""', {""}, set()),
        ('"*"', {"*"}, set()),
        ('"a,b"', {"a,b"}, set()),
        ('"W/"', {"W/"}, set()),
        ('"!#~\x80ÿ"', {"!#~\x80ÿ"}, set()),
    ],
)
def test_lists_of_tags_are_read(value: str, strong: set[str], weak: set[str]) -> None:
    """A list may have white space and empty elements; a tag may hold a comma."""
    assert if_match(value) == EntityTags(strong=frozenset(strong), weak=frozenset(weak))


def test_a_field_may_come_in_lines() -> None:
    """Several lines of a field are one list (RFC 9110 section 5.3)."""
    conditions = parse(("If-Match", '"a"'), ("if-match", '"b"'))
    assert conditions.if_match == EntityTags(strong=frozenset({"a", "b"}))


@pytest.mark.parametrize("value", ["*", " * ", "\t*"])
def test_a_star_is_any(value: str) -> None:
    """`*` stands for whatever is there."""
    assert if_match(value) == EntityTags(any=True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        "a",
        "'a'",
        '"a',
        'a"',
        '"a""b"',
        '"a" "b"',
        'w/"a"',
        'W/ "a"',
        "W/a",
        '*, "a"',
        '"a", *',
        "**",
        '"a b"',
        '"a\x7f"',
        "*,*",
    ],
)
@pytest.mark.parametrize("field", ["If-Match", "If-None-Match"])
def test_what_is_malformed_is_refused(field: str, value: str) -> None:
    """A condition that cannot be read is 400: passing over it could lose an update."""
    with pytest.raises(InvalidRequest, match=field):
        parse((field, value))


@pytest.mark.parametrize("field", ["If-Match", "If-None-Match"])
def test_what_is_too_long_is_refused_before_it_is_read(field: str) -> None:
    """In one line or in many: 4,096 characters in all."""
    tags = ['"a"'] * 820
    assert getattr(parse((field, ", ".join(tags[:819]))), field.lower().replace("-", "_")).match_strongly("a")
    with pytest.raises(InvalidRequest, match=f"{field} is too long"):
        parse((field, ", ".join(tags)))
    with pytest.raises(InvalidRequest, match=f"{field} is too long"):
        parse(*((field, tag) for tag in tags))


@pytest.mark.parametrize(
    ("fields", "etag", "holds"),
    [
        ([("If-Match", '"a"')], "a", True),
        ([("If-Match", '"b", "a"')], "a", True),
        ([("If-Match", '"A"')], "a", False),
        ([("If-Match", 'W/"a"')], "a", False),
        ([("If-Match", "*")], "a", True),
        ([("If-Match", "*")], None, False),
        ([("If-Match", '"a"')], None, False),
        ([("If-None-Match", '"a"')], "a", False),
        ([("If-None-Match", 'W/"a"')], "a", False),
        ([("If-None-Match", '"b"')], "a", True),
        ([("If-None-Match", "*")], "a", False),
        ([("If-None-Match", "*")], None, True),
        ([("If-None-Match", '"a"')], None, True),
        ([("If-Match", '"a"'), ("If-None-Match", '"a"')], "a", False),
        ([("If-Match", '"a"'), ("If-None-Match", '"b"')], "a", True),
        ([("If-Match", '"b"'), ("If-None-Match", '"b"')], "a", False),
    ],
)
def test_what_holds(fields: list[tuple[str, str]], etag: str | None, holds: bool) -> None:
    """If-Match compares strongly, If-None-Match weakly; both must hold; None is "nothing there"."""
    assert parse(*fields).hold(etag) is holds


@given(st.text(alphabet='"*W/,ab \t', max_size=30))
def test_any_text_is_read_or_refused(value: str) -> None:
    """A field is a condition or a 400, never an error of ours."""
    try:
        tags = if_match(value)
    except InvalidRequest:
        return
    assert tags.any or tags.strong or tags.weak


def test_a_long_hostile_field_costs_no_more_than_its_length() -> None:
    """Commas and spaces in any number do not make the pattern backtrack."""
    for piece in (", ", '"a" ', " ,", '"a",', "\t"):
        try:
            if_match(piece * 4_000 + "x")
        except InvalidRequest:
            continue
