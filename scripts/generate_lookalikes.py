#!/usr/bin/env python3
"""Write auth_service/identity/lookalikes.txt from the confusables that ICU ships (Unicode UTS #39).

Needs an ICU library on this machine; run it with its major version, for example
`python scripts/generate_lookalikes.py 72`, and read the difference before it is committed: the lookalike keys of
accounts are stored, so a changed line wants a migration that computes them anew.
"""

from __future__ import annotations

import ctypes
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "auth_service" / "identity" / "lookalikes.txt"
FIRST_BEYOND_ASCII = 0x80
SURROGATES = range(0xD800, 0xE000)
HEADER = """\
# Characters beyond ASCII that look like Latin letters, and the letters they look like: code point, looks.
# Derived from the confusables of Unicode UTS #39, Unicode {unicode}, by way of ICU {icu};
# made by scripts/generate_lookalikes.py. Copyright 1991-2022 Unicode, Inc.; Unicode License (see NOTICE).
"""


class Icu:
    """The skeletons of one installed ICU."""

    def __init__(self, major: str) -> None:
        self._library = ctypes.CDLL(f"libicui18n.so.{major}")
        self._major = major
        self._checker = self._call("uspoof_open", result=ctypes.c_void_p)

    def skeleton(self, text: str) -> str:
        """What `text` looks like, in prototype letters (UTS #39 section 4)."""
        encoded, buffer = text.encode(), ctypes.create_string_buffer(256)
        length = self._call(
            "uspoof_getSkeletonUTF8", ctypes.c_void_p(self._checker), 0, encoded, len(encoded), buffer, len(buffer)
        )
        return buffer.raw[:length].decode()

    def versions(self) -> tuple[str, str]:
        """Of Unicode and of ICU."""
        unicode, icu = (ctypes.c_uint8 * 4)(), (ctypes.c_uint8 * 4)()
        library = ctypes.CDLL(f"libicuuc.so.{self._major}")
        getattr(library, f"u_getUnicodeVersion_{self._major}")(unicode)
        getattr(library, f"u_getVersion_{self._major}")(icu)
        return f"{unicode[0]}.{unicode[1]}.{unicode[2]}", f"{icu[0]}.{icu[1]}"

    def _call(self, name: str, *arguments: object, result: type = ctypes.c_int32) -> int:
        function = getattr(self._library, f"{name}_{self._major}")
        function.restype = result
        status = ctypes.c_int(0)
        value: int = function(*arguments, ctypes.byref(status))
        if status.value > 0:
            raise RuntimeError(f"ICU's {name} failed with {status.value}")
        return value


def looks(skeleton: Callable[[str], str]) -> dict[str, str]:
    """Every character that a user name may hold and that looks like Latin letters, with the letters it looks like."""
    ascii_letters = {skeleton(letter): letter for letter in _ascii_by_preference()}
    capitals = {skeleton(letter): letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    table = {}
    for character in _candidates():
        prototype = skeleton(character)
        exact = ascii_letters.get(skeleton(_shape(character))) or ascii_letters.get(prototype)
        if _is_capital(character):
            exact = capitals.get(prototype, exact)
        look = exact or prototype.replace("rn", "m")
        if look != character and _is_latin(look) and not (_is_letter_of_latin(character) and len(_bases(look)) > 1):
            table[character] = look
    return table


def _shape(character: str) -> str:
    """The character that shows how this one is drawn.

    A capital whose name does not say that it is one was encoded as a letter of one case (palochka, Cherokee). Its small
    letter came later and is drawn like it, whatever UTS #39 says of it: `i` of the small palochka, which is a bar.
    """
    capital = character.upper()
    return capital if len(capital) == 1 and capital.isupper() and not _is_capital(capital) else character


def _is_capital(character: str) -> bool:
    return character.isupper() and "CAPITAL" in unicodedata.name(character, "")


def _ascii_by_preference() -> str:
    # Of the ASCII characters with one skeleton the last one named here stands for it: letters before digits before
    # signs, small letters before capitals; of the signs the apostrophe before the grave accent.
    printable = "".join(map(chr, range(0x21, 0x7F)))
    signs = [character for character in printable if not character.isalnum()]
    ranked = [*reversed(signs), *"0123456789", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abcdefghijklmnopqrstuvwxyz"]
    return "".join(ranked)


def _candidates() -> list[str]:
    """What can stand in a decomposed user name: no compatibility character, nothing that decomposes (PRECIS, NFD)."""
    everything = (chr(point) for point in range(FIRST_BEYOND_ASCII, sys.maxunicode + 1) if point not in SURROGATES)
    return [
        character
        for character in everything
        if unicodedata.normalize("NFKD", character) == character and unicodedata.category(character)[0] in "LMN"
    ]


def _bases(text: str) -> str:
    return "".join(character for character in text if not unicodedata.category(character).startswith("M"))


def _is_latin(look: str) -> bool:
    bases = _bases(look)
    return bool(bases) and all(base.isascii() or _is_letter_of_latin(base) for base in bases)


def _is_letter_of_latin(character: str) -> bool:
    return unicodedata.name(character, "").startswith("LATIN ")


def main() -> None:
    icu = Icu(sys.argv[1])
    unicode, version = icu.versions()
    lines = [f"{ord(character):04X} {look}\n" for character, look in sorted(looks(icu.skeleton).items())]
    TARGET.write_text(HEADER.format(unicode=unicode, icu=version) + "".join(lines), encoding="utf-8")
    print(f"{len(lines)} characters, Unicode {unicode}, written to {TARGET}")


if __name__ == "__main__":
    main()
