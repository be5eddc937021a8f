"""Which passwords may be chosen (ASVS 5.0 6.2): by length, by how common they are, and by what they consist of.

No rule about kinds of characters, and nothing forces a change. A password is looked at as a guesser would spell it; it
is hashed as it was sent (`passwords`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from auth_service.identity.passwords import MAX_CHARACTERS, is_unicode
from shared.errors import InvalidRequest, ServiceError

MIN_CHARACTERS = 8
"""Code points (ASVS 5.0 6.2.1; 15 are recommended)."""
MIN_CONTEXT_WORD = 3
"""A shorter word is part of too many passwords by chance."""
MAX_TRIMMINGS = 8
"""How many digits and signs at an end of a common password do not make it a good one: room for a date; ours."""
MAX_COMPOSED = 4
"""Code points that composition joins into one at most (NFC)."""
PIECE = 256
"""Code points that are brought into one form at a time: to put a run of marks in order takes the square of its length.
More than a common password with all its trimmings has, and nearly everybody's whole password."""
UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What shows nothing though its category is that of letters, marks or signs (Default_Ignorable_Code_Point, UAX #44)."""
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
        entries = [_skeleton(line) for line in text.splitlines() if not line.startswith("# ")]
        self._common = "\n".join(["", *entries, ""])
        self._longest_common = MAX_COMPOSED * (max(map(len, entries)) + 2 * MAX_TRIMMINGS)
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
        if self._is_common(password):
            raise WeakPassword("The password is one of the most common ones, or little more than that.")
        if _is_made_of(password, [*self._service_words, *own_words]):
            raise WeakPassword(
                "Apart from the user name, the e-mail address and the name of this service, the password must have "
                f"at least {MIN_CHARACTERS} characters."
            )

    def _is_common(self, password: str) -> bool:
        shown = "".join(_shown(password).split())
        # Of anything longer the skeleton is longer, too, than an entry with all that may be trimmed off.
        if len(shown) > self._longest_common:
            return False
        return any(f"\n{core}\n" in self._common for core in _cores(_skeleton(shown)))


def _skeleton(text: str) -> str:
    """What a guesser would spell `text`: as `_seen`, without blanks."""
    return "".join(_seen(text).split())


def _seen(text: str) -> str:
    """`text` in one form of each letter (NFKC_Casefold, UAX #31) and without what nobody sees.

    In a text longer than a piece a mark is not joined to its letter where a piece ends between them.
    """
    # Nearly all of the list is that, and each start reads it.
    if text.isascii() and text.isprintable():
        return text.casefold()
    shown = _shown(text)
    return "".join(_in_one_form(shown[begin : begin + PIECE]) for begin in range(0, len(shown), PIECE))


def _shown(text: str) -> str:
    """`text` without what nobody sees; nothing else becomes that in another form."""
    if text.isascii() and text.isprintable():
        return text
    shown = (character for character in text if character.isspace() or unicodedata.category(character)[0] != "C")
    return UNSEEN.sub("", "".join(shown))


def _in_one_form(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _cores(skeleton: str) -> Iterator[str]:
    """`skeleton`, and what it is without some of the digits and signs at its end, without those before it, and both."""
    front = min(_trimmings(skeleton), MAX_TRIMMINGS)
    back = min(_trimmings(skeleton[::-1]), MAX_TRIMMINGS)
    for begin in {0, front}:
        for end in range(len(skeleton) - back, len(skeleton) + 1):
            if end - begin >= MIN_CHARACTERS:
                yield skeleton[begin:end]


def _trimmings(text: str) -> int:
    return next((index for index, character in enumerate(text) if character.isalpha()), len(text))


def _is_made_of(password: str, words: Iterable[str]) -> bool:
    """Whether `password` has some of the words in it, each of which an attacker tries first, and little else
    (ASVS 5.0 6.2.11)."""
    known = sorted({_seen(word) for word in words}, key=len, reverse=True)
    known = [word for word in known if len(word) >= MIN_CONTEXT_WORD]
    if len(password) > PIECE:
        # What comes behind can take nothing from this but the beginning of one word.
        left = _without(_seen(password[:PIECE]), known)
        if len(left) >= MIN_CHARACTERS + max(map(len, known), default=0):
            return False
    seen = _seen(password)
    left = _without(seen, known)
    return left != seen and len(left) < MIN_CHARACTERS


def _without(seen: str, words: Iterable[str]) -> str:
    for word in words:
        seen = seen.replace(word, "")
    return seen
