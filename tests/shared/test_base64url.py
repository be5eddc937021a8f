"""Base64url in its one canonical spelling (RFC 7515 section 2, RFC 4648 section 3.5)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import base64url


@given(st.binary(min_size=1, max_size=200))
def test_every_value_has_its_spelling(data: bytes) -> None:
    """What is encoded is decoded to the same bytes, and is what the standard library writes without padding."""
    text = base64url.encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert base64url.decode(text) == data


@given(st.text("ABCDwxyz0189-_", min_size=1, max_size=12))
def test_a_value_has_no_second_spelling(text: str) -> None:
    """Whatever is decoded at all is exactly what encoding gives back (RFC 4648 section 3.5)."""
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


@pytest.mark.parametrize(
    "text", ["", "A", "AAAAA", "AB", "AAB", "QQ==", "Q Q", "Q\n", "+/AA", "ä", "QQ\x00"], ids=ascii
)
def test_other_spellings_are_refused(text: str) -> None:
    """Padding, whitespace, the other alphabet, spare bits, impossible lengths and nothing at all are refused."""
    with pytest.raises(ValueError, match=r"base64url|ascii"):
        base64url.decode(text)
