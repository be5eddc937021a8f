"""Device tokens: what is recognised, for whom, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth_service.identity.devices import (
    LIFETIME_SECONDS,
    MAX_ACCOUNTS,
    MAX_CHARACTERS,
    RENEWAL_SECONDS,
    Devices,
)
from auth_service.keys.sealing import MasterKey, MasterKeys, new_master_key
from auth_service.model.account import Account
from tests.auth_service.stored import NOW, account

KEY, FORMER_KEY = bytes(range(32)), bytes(range(32, 64))
DEVICES = Devices([KEY])
ALICE, BOB = account("alice"), account("bob")


def remembered(who: Account, presented: str = "", *, at: float = NOW, devices: Devices = DEVICES) -> str:
    tokens = devices.remember(presented, who, at=at)
    assert tokens is not None
    return tokens


def is_known(tokens: str, who: Account | None, *, at: float = NOW, devices: Devices = DEVICES) -> bool:
    return devices.recognise(tokens, who, at=at) is not None


def test_a_device_is_known_to_the_account_that_signed_in_on_it() -> None:
    """And to no other account, and not to a name that nobody has."""
    tokens = remembered(ALICE)
    assert is_known(tokens, ALICE)
    assert not is_known(tokens, BOB)
    assert not is_known(tokens, None)
    assert not is_known("", ALICE)


def test_no_two_devices_are_one() -> None:
    """Each sign-in without a token makes another device, with a budget of its own."""
    known = [DEVICES.recognise(remembered(ALICE), ALICE, at=NOW) for _ in range(3)]
    assert len({device.name for device in known if device is not None}) == 3


def test_a_change_of_password_makes_strangers_of_all_devices() -> None:
    """Also of those of somebody who had the password; a rehash of the same password does not."""
    tokens = remembered(ALICE)
    assert not is_known(tokens, ALICE.with_password("another", at=NOW))
    assert is_known(tokens, ALICE.with_rehashed_password("another"))


def test_a_token_has_a_life_and_is_renewed_in_time() -> None:
    """A device in use keeps its name, and so its budget, and never has to be forgotten."""
    tokens = remembered(ALICE)
    assert DEVICES.remember(tokens, ALICE, at=NOW + RENEWAL_SECONDS - 1) is None
    newer = remembered(ALICE, tokens, at=NOW + RENEWAL_SECONDS)
    first, second = (DEVICES.recognise(each, ALICE, at=NOW + RENEWAL_SECONDS) for each in (tokens, newer))
    assert first is not None
    assert second is not None
    assert first.name == second.name
    end = int(NOW) + LIFETIME_SECONDS
    assert is_known(tokens, ALICE, at=end - 1)
    assert not is_known(tokens, ALICE, at=end)
    assert is_known(newer, ALICE, at=end)
    assert "." not in newer


def test_one_device_may_be_known_to_several_accounts() -> None:
    """It keeps a token for each, and forgets the account that signed in longest ago when there are too many."""
    accounts = [account(f"user-{number}") for number in range(MAX_ACCOUNTS + 1)]
    tokens = ""
    for who in accounts[:-1]:
        tokens = remembered(who, tokens)
    assert all(is_known(tokens, who) for who in accounts[:-1])
    assert len(tokens) <= MAX_CHARACTERS
    tokens = remembered(accounts[-1], tokens)
    assert [is_known(tokens, who) for who in accounts] == [False, *[True] * MAX_ACCOUNTS]


def test_the_keys_of_former_master_keys_are_still_known() -> None:
    """While a master key is being replaced no device is forgotten; when it is gone, so are its devices."""
    tokens = remembered(ALICE, devices=Devices([FORMER_KEY]))
    assert is_known(tokens, ALICE, devices=Devices([KEY, FORMER_KEY]))
    assert not is_known(tokens, ALICE)
    assert is_known(remembered(ALICE, devices=Devices([KEY, FORMER_KEY])), ALICE)
    assert Devices(()).remember("", ALICE, at=NOW) is None
    assert not is_known(tokens, ALICE, devices=Devices(()))


def test_the_key_follows_from_the_master_key_and_tells_nothing_of_it() -> None:
    """Every process with the same master keys has the same device keys, the current one's first."""
    current, older = new_master_key(), new_master_key()
    keys = MasterKeys(MasterKey.parse(current), [MasterKey.parse(older), MasterKey.parse(current)]).device_keys
    assert keys == [MasterKey.parse(current).device_key, MasterKey.parse(older).device_key]
    assert len({*keys}) == 2
    assert all(len(key) == 32 for key in keys)


TOKEN = remembered(ALICE)


@given(position=st.integers(0, len(TOKEN) - 1), other=st.sampled_from("AZaz09-_ .=\u00e9"))
def test_no_altered_token_is_known(position: int, other: str) -> None:
    """Not one character of it may be another."""
    altered = TOKEN[:position] + other + TOKEN[position + 1 :]
    assert is_known(altered, ALICE) is (altered == TOKEN)


@given(st.text(max_size=400) | st.text(alphabet="Aa0-_.", max_size=2_000))
def test_no_text_is_a_token(text: str) -> None:
    """Whatever is sent as a cookie, nothing breaks and nobody is recognised."""
    assert not is_known(text, ALICE)
    tokens = remembered(ALICE, text)
    assert is_known(tokens, ALICE)
    assert len(tokens) <= MAX_CHARACTERS


@pytest.mark.parametrize("change", [{"sub": BOB.sub}, {"password_changed_at": NOW + 1e-6}])
def test_a_token_is_bound_to_the_subject_and_to_the_very_instant(change: dict[str, object]) -> None:
    """A name that is registered anew does not inherit devices, nor does the next password."""
    assert not is_known(TOKEN, replace(ALICE, **change))  # type: ignore[arg-type]


def test_nothing_shows_the_name_of_a_device() -> None:
    """It stays out of reprs, and so out of logs."""
    device = DEVICES.recognise(TOKEN, ALICE, at=NOW)
    assert device is not None
    assert repr(device.name) not in repr(device)
