"""User names: which are allowed, which spellings are one name, and which look like one.

Two keys, both unique among accounts:

- `key`, what a sign-in looks up: the PRECIS profile UsernameCaseMapped (RFC 8265 section 3.3). Letter case, width and
  Unicode normalisation make no difference.
- `lookalike_key`, which only keeps new accounts away from old ones: each character beyond ASCII that looks like
  Latin letters (UTS #39, the table in `lookalikes.txt`) counts as those. So a Cyrillic or half Cyrillic "paypal" is
  taken once the Latin one is. Characters of ASCII stand for themselves: "user1" and "userl", "modern" and "modem" are
  different names, and so are letters of one script that resemble each other but not Latin. It is made of the name as
  typed, for that is what is seen: an I behind a small letter is seen as l, so "appIe" is taken once "apple" is; a dot
  on an i is the one that it has, and a mark that shows nothing is not there.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from precis_i18n import get_profile

from shared.errors import InvalidRequest

MAX_CHARACTERS = 64
"""Code points after mapping; room for any name a person types, little for anybody who pads."""
MAX_BYTES = 255
"""UTF-8 after mapping; what other systems give a user name (POSIX LOGIN_NAME_MAX, LDAP uid)."""
MAX_TYPED_CHARACTERS = 4 * MAX_CHARACTERS
"""Before mapping: composition joins at most four code points into one. Nothing longer is looked at."""
INVISIBLE = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\U00016fe4\U0001bc9d\U00013441\U00013442"
"""What PRECIS allows in some words although nothing of it is seen: the joiners, which are Default_Ignorable_Code_Point
(UAX #44; PRECIS refuses all others), and what is by its name a filler (Khitan), a selector (Duployan) or a blank
(Egyptian, from Unicode 15 on)."""
JOINING = "".join(
    [
        "\u1039\u17d2\u1a60\u1bab\uaaf6\U00010a3f\U00011133\U000113d0\U0001193e\U00011a47\U00011a99\U00011d45",
        "\U00011d97\U00011f42\U0001107f\u2d7f",
    ]
)
"""What stacks or joins the two letters of its script that it stands between, and shows nothing where there are none:
Indic_Syllabic_Category Invisible_Stacker and Number_Joiner (UAX #44, Unicode 16), and the joiner of Tifinagh."""
DOT = "\N{COMBINING DOT ABOVE}"
UNDER_A_DOT = frozenset("ijl\u029d\u1d96\U0001df1a")
"""Small letters that a dot above does not change to the eye: those that have one (Soft_Dotted, UAX #44; the others of
them look like these or are composed), and l, which is too tall for it."""
LOOKALIKES = Path(__file__).with_name("lookalikes.txt")


class InvalidUsername(InvalidRequest):
    """The name is not one an account may have."""


@dataclass(frozen=True, slots=True)
class Username:
    """An allowed name: as typed (width mapped and composed), and its two keys."""

    text: str
    key: str
    lookalike_key: str


def read_username(typed: str) -> Username:
    """Check a name for a new account; raise InvalidUsername."""
    key = username_key(typed)
    text = _enforce("UsernameCasePreserved", typed) if key is not None else None
    if key is None or text is None:
        raise InvalidUsername(f"The user name must be 1 to {MAX_CHARACTERS} letters, digits or signs, without spaces.")
    return Username(text, key, lookalike_key(text))


def username_key(typed: str) -> str | None:
    """What a sign-in with this name looks up; None for a name that no account can have."""
    if not 0 < len(typed) <= MAX_TYPED_CHARACTERS:
        return None
    key = _enforce("UsernameCaseMapped", typed)
    if key is None or len(key) > MAX_CHARACTERS or len(key.encode()) > MAX_BYTES:
        return None
    # A leading mark would sit on whatever is printed before the name.
    return None if unicodedata.category(key[0]).startswith("M") else key


def lookalike_key(text: str) -> str:
    """What a name looks like; `text` is as typed, width mapped and composed. A change here wants a migration."""
    shown: list[str] = []
    letter = ""
    characters = unicodedata.normalize("NFD", text).translate(_LOOKS)
    for number, character in enumerate(characters):
        if unicodedata.category(character).startswith("M"):
            hides = character in JOINING and not _joins(character, characters[number - 1 : number + 2])
            if hides or (character == DOT and letter.lower() in UNDER_A_DOT):
                continue
            shown.append(character)
        else:
            letter = "l" if character == "I" and letter.islower() else character
            shown.append(letter)
    return unicodedata.normalize("NFC", "".join(shown).lower())


def _joins(mark: str, surroundings: str) -> bool:
    """Whether all three of `surroundings` are of the script of `mark`, which every name in Unicode begins with."""
    script = unicodedata.name(mark, "").split(" ")[0]
    return len(surroundings) == 3 and all(unicodedata.name(one, "").startswith(script) for one in surroundings)


def _enforce(profile: str, typed: str) -> str | None:
    try:
        enforced: str = _profile(profile).enforce(typed)
        enforced.encode()
    except UnicodeEncodeError:  # raised by precis_i18n for a refused name, and by Python for a lone surrogate
        return None
    return enforced


@cache
def _profile(name: str) -> Any:
    return get_profile(name)


def _read_lookalikes() -> dict[int, str]:
    lines = LOOKALIKES.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if not line.startswith("#"))
    return {int(point, 16): look for point, look in pairs} | dict.fromkeys(map(ord, INVISIBLE), "")


# Read here and not at the first registration: that one would wait for the disk on the event loop.
_LOOKS = _read_lookalikes()
