"""The refresh token: its form, and how one follows another."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.model.refresh_token import RefreshToken, new_successor_salt
from shared.logging import redact_text


def test_a_token_is_read_as_it_was_written() -> None:
    """What the client holds names the session and carries 256 random bits."""
    token = RefreshToken.new()
    assert RefreshToken.parse(token.clear_text()) == token
    assert (len(token.handle), len(token.secret), len(token.clear_text())) == (16, 32, 79)


def test_no_two_tokens_share_anything() -> None:
    """Handle and secret of each new token are drawn anew."""
    tokens = [RefreshToken.new() for _ in range(100)]
    assert len({token.handle for token in tokens}) == len({token.secret for token in tokens}) == 100


@given(st.text())
def test_what_is_not_a_token_is_none(text: str) -> None:
    """Any other text is no token, and is no error either."""
    assert RefreshToken.parse(text) is None


def _spoiled() -> list[str]:
    text = RefreshToken(bytes(range(16)), bytes(range(32))).clear_text()
    return [
        text[:-1],
        text + "A",
        text + "\n",
        " " + text,
        text.upper(),
        text.replace("signet", "other"),
        text[15:],
        text + "=",
    ]


@pytest.mark.parametrize("text", _spoiled())
def test_a_token_has_one_spelling(text: str) -> None:
    """Nothing is trimmed, padded or folded."""
    assert RefreshToken.parse(text) is None


def test_the_successor_is_a_function_of_parent_and_salt() -> None:
    """HMAC-SHA256 of the salt under the parent's secret, in the same session; another salt makes another token."""
    parent = RefreshToken.new()
    salt = new_successor_salt()
    successor = parent.successor(salt)
    assert successor == RefreshToken(parent.handle, hmac.new(parent.secret, salt, hashlib.sha256).digest())
    assert parent.successor(salt) == successor
    assert parent.successor(new_successor_salt()) != successor


def test_what_is_stored_is_no_token() -> None:
    """The hashes kept of handle and secret are SHA-256, and hold neither."""
    token = RefreshToken.new()
    assert token.secret_hash == hashlib.sha256(token.secret).digest()
    assert token.handle_hash == hashlib.sha256(token.handle).digest()


def test_a_token_does_not_reach_a_log() -> None:
    """Its repr says nothing, and its clear text is recognised by the redaction of log lines."""
    token = RefreshToken.new()
    assert "\\x" not in repr(token)
    assert token.clear_text() not in redact_text(f"sent {token.clear_text()} twice")
