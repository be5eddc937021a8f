"""A password link's token and its end."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import pytest

from auth_service.model.password_link import LinkEnd, LinkToken
from tests.auth_service.stored import NOW, account, password_link


def test_a_token_is_256_random_bits_and_out_of_sight() -> None:
    """A new one each time, recognisable, 43 characters of base64url, not in its repr."""
    tokens = [LinkToken.new() for _ in range(100)]
    assert len({token.clear_text for token in tokens}) == 100
    for token in tokens:
        assert LinkToken.parse(token.clear_text) == token
        assert len(token.clear_text.removeprefix("signet_link_")) == 43
        assert token.clear_text not in repr(token)
        assert token.hash == hashlib.sha256(token.clear_text.encode()).digest()
        assert repr(token.hash) not in repr(replace(password_link(account()), token_hash=token.hash))


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "signet_link_",
        "signet_link_" + "A" * 42,
        "signet_link_" + "A" * 44,
        "signet_link_" + "A" * 42 + "=",
        "signet_link_" + "A" * 42 + "é",
        "signet_refresh_" + "A" * 43,
        " signet_link_" + "A" * 43,
        "signet_link_" + "A" * 43 + "\n",
    ],
)
def test_what_cannot_be_a_token_is_none(presented: str) -> None:
    """Nothing but the one form is looked up."""
    assert LinkToken.parse(presented) is None


def test_a_link_ends_at_its_instant() -> None:
    """It works until just before `expires_at`."""
    owner = account()
    link = password_link(owner)
    assert link.end(owner, at=NOW) is None
    assert link.end(owner, at=math.nextafter(link.expires_at, 0)) is None
    assert link.end(owner, at=link.expires_at) is LinkEnd.EXPIRED


def test_a_link_is_for_the_password_in_force() -> None:
    """Another password makes it void, the same one under a newer hash does not."""
    owner = account()
    link = password_link(owner)
    assert link.end(owner.with_rehashed_password("$other"), at=NOW) is None
    assert link.end(owner.with_password("$other", at=NOW), at=NOW) is LinkEnd.PASSWORD_CHANGED


def test_a_link_for_a_closed_account_does_not_work() -> None:
    """Nobody opens a disabled account by choosing a password."""
    owner = account()
    assert password_link(owner).end(owner.disabled(), at=NOW) is LinkEnd.ACCOUNT_DISABLED


@pytest.mark.parametrize("reason", list(LinkEnd))
def test_the_stored_end_is_told_first(reason: LinkEnd) -> None:
    """What happened to it says more than what else is true by now."""
    owner = account()
    link = replace(password_link(owner), ended_at=NOW, end_reason=reason)
    assert link.end(owner.with_password("$other", at=NOW), at=NOW + 1e6) is reason
