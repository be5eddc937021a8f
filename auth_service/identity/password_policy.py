"""Which passwords may be chosen (ASVS 5.0 6.2): by length, by how common they are, and by what they consist of.

No rule about kinds of characters, and nothing forces a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from auth_service.identity.passwords import MAX_CHARACTERS, is_unicode
from shared.errors import InvalidRequest, ServiceError

MIN_CHARACTERS = 8
"""Code points (ASVS 5.0 6.2.1; 15 are recommended)."""
MIN_CONTEXT_WORD = 3
"""A shorter word is part of too many passwords by chance."""
COMMON_PASSWORDS = Path(__file__).with_name("common_passwords.txt")


class WeakPassword(ServiceError):
    """The password must not be chosen; the description says why."""

    status = 400
    code = "weak_password"


class PasswordPolicy:
    """The rule for new passwords. `service_words` are what this service is called, known to every attacker."""

    def __init__(self, service_words: Iterable[str]) -> None:
        # One text that is searched, not a set: a fifteenth of the memory, and 20 us beside a hash of 25 ms.
        text = COMMON_PASSWORDS.read_text(encoding="utf-8")
        self._common = "\n" + "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# "))
        self._service_words = tuple(service_words)

    def check(self, password: str, own_words: Iterable[str]) -> None:
        """Raise WeakPassword for one that must not be chosen, InvalidRequest for what is no Unicode text.

        `own_words` are those that belong to the account: its name, its e-mail address.
        """
        if len(password) < MIN_CHARACTERS:
            raise WeakPassword(f"The password must have at least {MIN_CHARACTERS} characters.")
        if len(password) > MAX_CHARACTERS:
            raise WeakPassword(f"The password must have at most {MAX_CHARACTERS} characters.")
        if not is_unicode(password):
            raise InvalidRequest("The password is not Unicode text.")
        folded = password.casefold()
        if "\n" not in folded and f"\n{folded}\n" in self._common:
            raise WeakPassword("The password is one of the most common ones.")
        if len(_without(folded, [*self._service_words, *own_words])) < MIN_CHARACTERS:
            raise WeakPassword(
                "Apart from the user name, the e-mail address and the name of this service, the password must have "
                f"at least {MIN_CHARACTERS} characters."
            )


def _without(folded: str, words: Iterable[str]) -> str:
    """`folded` without the words, each of which an attacker tries first (ASVS 5.0 6.2.11)."""
    known = {word.casefold() for word in words}
    for word in sorted(known, key=len, reverse=True):
        if len(word) >= MIN_CONTEXT_WORD:
            folded = folded.replace(word, "")
    return folded
