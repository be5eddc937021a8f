"""Where status lists may lie: below one address, whatever a token writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.status_list_prefix import StatusListPrefix

ISSUER = "https://a.example"


def prefix(text: str, issuer: str = ISSUER) -> StatusListPrefix:
    return StatusListPrefix(text, issuer=issuer)


@pytest.mark.parametrize(
    ("begin", "address"),
    [
        ("https://a.example/lists", "https://a.example/lists/1"),
        ("https://a.example/lists/", "https://a.example/lists/1"),
        ("https://a.example/lists", "https://a.example/lists"),
        ("https://a.example/lists", "https://a.example/lists/a/b.c~d_e-f;g=h@i:j"),
        ("https://a.example", "https://a.example/anything"),
        ("https://a.example/", "https://a.example/anything"),
        ("https://cdn.example:8443/x", "https://cdn.example:8443/x/1"),
    ],
)
def test_an_address_below_is_covered(begin: str, address: str) -> None:
    """The prefix itself, and whatever lies below it; a slash at its end says nothing."""
    assert prefix(begin).covers(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://a.example",
        "https://a.example/",
        "https://a.example/list",
        "https://a.example/lists/",
        "https://a.example/lists-evil/1",
        "https://a.example/listsevil",
        "https://a.example/other/1",
        "https://a.example/lists/../x",
        "https://a.example/lists/..",
        "https://a.example/lists/./1",
        "https://a.example/lists/.",
        "https://a.example/x/../lists/1",
        "https://a.example/lists//1",
        "https://a.example//lists/1",
        "https://a.example/lists/%2e%2e/x",
        "https://a.example/lists/%2E%2E%2Fx",
        "https://a.example/lists/..%2fx",
        "https://a.example/lists/%31",
        "https://a.example/lists\\..\\x",
        "https://a.example/lists/..\\x",
        "https://a.example/lists/1?x=1",
        "https://a.example/lists/1#x",
        "https://a.example/lists?/1",
        "https://a.example.evil/lists/1",
        "https://a.example.evil.example/lists/1",
        "https://a.example@evil.example/lists/1",
        "https://evil.example@a.example/lists/1",
        "https://:@a.example/lists/1",
        "https://a.example:443/lists/1",
        "https://a.example:8443/lists/1",
        "https://a.example:/lists/1",
        "https://A.example/lists/1",
        "HTTPS://a.example/lists/1",
        "http://a.example/lists/1",
        "https:/a.example/lists/1",
        "https:///a.example/lists/1",
        "//a.example/lists/1",
        "/lists/1",
        "file:///lists/1",
        "https://a.example/lists/1 ",
        " https://a.example/lists/1",
        "https://a.example/lists/1\r\nX: y",
        "https://a.example/lists/\0",
        "https://a.example/lists/ä",
        "https://а.example/lists/1",  # noqa: RUF001 - a Cyrillic letter
        "https://[::1]/lists/1",
        "https://a.example/lists/1\t",
    ],
)
def test_an_address_that_is_anywhere_else_is_not(address: str) -> None:
    """Another origin, another path, and whatever could be read in two ways."""
    assert not prefix("https://a.example/lists").covers(address)


@pytest.mark.parametrize(
    "begin",
    [
        "",
        "a.example/lists",
        "http://b.example/lists",
        "http://localhost/lists",
        "https://u@a.example/lists",
        "https://a.example/lists?x",
        "https://a.example/lists#x",
        "https://a.example/a/../b",
        "https://a.example/a//b",
        "https://a.example/%61",
    ],
)
def test_an_unsafe_prefix_stops_the_start(begin: str) -> None:
    """Nobody steps down from TLS, and the prefix is plain itself."""
    with pytest.raises(ValueError, match="must"):
        prefix(begin)


def test_plain_http_is_for_an_issuer_that_is_plain() -> None:
    """On loopback, where the issuer's own address says so."""
    assert prefix("http://localhost:1/x", "http://localhost:1").covers("http://localhost:1/x/1")


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_what_is_covered_lies_below(rest: str) -> None:
    """Whatever is written behind the prefix: it begins with a slash, has no dots to climb with, and nothing else."""
    if prefix("https://a.example/lists").covers("https://a.example/lists" + rest):
        assert rest == "" or rest.startswith("/")
        assert not {"", ".", ".."} & set(rest.split("/")[1:])
        assert not set(rest) & set("%\\?# \t\r\n")
