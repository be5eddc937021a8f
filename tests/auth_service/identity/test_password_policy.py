"""Which passwords may be chosen."""

from __future__ import annotations

import pytest

from auth_service.identity.password_policy import COMMON_PASSWORDS, PasswordPolicy, WeakPassword
from shared.errors import InvalidRequest

OWN_WORDS = ["alice", "wonderland", "example.org"]


@pytest.mark.parametrize(
    "password",
    [
        "x7Gq-2mv",
        "eight ch",
        "🌊🗻🌋🏝🏜🏖🏕🏞",
        "        z",
        "alice has eaten a cake",
        "onlysmallletters",
        "8402759163",
        "x" * 1_024,
    ],
)
def test_a_password_of_any_characters_is_taken(password_policy: PasswordPolicy, password: str) -> None:
    """8 to 1024 code points of whatever kind; no rule about capitals, digits or signs (ASVS 5.0 6.2.5, 6.2.9)."""
    password_policy.check(password, OWN_WORDS)


@pytest.mark.parametrize(
    ("password", "reason"), [("", "at least 8"), ("x7Gq-2m", "at least 8"), ("x" * 1_025, "at most")]
)
def test_the_length_is_counted_in_code_points(password_policy: PasswordPolicy, password: str, reason: str) -> None:
    """One below and one above are refused, and told why (ASVS 5.0 6.2.1)."""
    with pytest.raises(WeakPassword, match=reason):
        password_policy.check(password, [])


@pytest.mark.parametrize("password", ["password", "PASSWORD", "Password1", "12345678", "qwertyuiop", "iloveyou"])
def test_common_passwords_are_refused(password_policy: PasswordPolicy, password: str) -> None:
    """In whatever letter case (ASVS 5.0 6.2.4)."""
    with pytest.raises(WeakPassword, match="most common"):
        password_policy.check(password, [])


def test_the_list_of_common_passwords_is_long_enough(password_policy: PasswordPolicy) -> None:
    """At least the 3,000 most common that the length rule does not refuse anyway, every one of them refused."""
    entries = [line for line in COMMON_PASSWORDS.read_text("utf-8").splitlines() if not line.startswith("# ")]
    assert len(set(entries)) == len(entries) > 8_000
    assert all(len(entry) >= 8 for entry in entries)
    for entry in entries:
        with pytest.raises(WeakPassword):
            password_policy.check(entry, [])


@pytest.mark.parametrize(
    "password",
    ["alice2026!", "ALICE-alice", "Wonderland1", "alice@wonderland", "signet123", "SignetSignet", "alice@example.org"],
)
def test_a_password_made_of_known_words_is_refused(password_policy: PasswordPolicy, password: str) -> None:
    """The account's own words and the service's name count for nothing (ASVS 5.0 6.1.2, 6.2.11)."""
    with pytest.raises(WeakPassword, match="Apart from the user name"):
        password_policy.check(password, OWN_WORDS)


def test_a_short_name_does_not_spoil_passwords(password_policy: PasswordPolicy) -> None:
    """Names of one or two letters occur by chance, and so does the empty part of an address."""
    password_policy.check("ababab12", ["a", "b", "ab", ""])


def test_what_is_no_text_is_refused(password_policy: PasswordPolicy) -> None:
    """A lone surrogate cannot be hashed; it is a malformed request and not a weak password."""
    with pytest.raises(InvalidRequest, match="not Unicode"):
        password_policy.check("\ud800" * 8, [])
