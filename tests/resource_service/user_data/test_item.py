"""What can be an item's name."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resource_service.user_data.item import InvalidName, parse_name


@pytest.mark.parametrize("name", ["a", "Z9", "settings.theme", "a-b_c~d", "...", "x" * 128, ".hidden", "-", "0"])
def test_names_that_are_taken(name: str) -> None:
    """1 to 128 unreserved characters (RFC 3986 section 2.3) are a name, kept exactly as they are."""
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 129,
        ".",
        "..",
        "a/b",
        "a b",
        "a\n",
        "\n",
        "a\0",
        "ä",
        "a%41",
        "%2F",
        "a:b",
        "a+b",
        "a;b",
        "\u0661",
        "\uff41",
        "\udcff",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    """Anything with a second spelling somewhere on the way (URL, log, JSON, file name) is no name."""
    with pytest.raises(InvalidName):
        parse_name(name)


@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("abc.~-_%/"), max_size=140))
def test_a_name_has_one_spelling_everywhere(name: str) -> None:
    """What is taken needs no escape in a URL or in JSON; there is no outcome but taken or refused."""
    try:
        parse_name(name)
    except InvalidName:
        return
    assert quote(name, safe="") == name
    assert json.dumps(name) == f'"{name}"'
