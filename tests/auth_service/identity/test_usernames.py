"""User names: one account for spellings that a person cannot tell apart."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auth_service.identity.usernames import (
    MAX_BYTES,
    MAX_CHARACTERS,
    InvalidUsername,
    lookalike_key,
    read_username,
    username_key,
)

CYRILLIC_A = "\N{CYRILLIC SMALL LETTER A}"
CYRILLIC_APP = "\N{CYRILLIC SMALL LETTER A}" + "\N{CYRILLIC SMALL LETTER ER}" * 2
CYRILLIC_COCO = "\N{CYRILLIC SMALL LETTER ES}\N{CYRILLIC SMALL LETTER O}" * 2
CYRILLIC_BOB_IN_CAPITALS = "\N{CYRILLIC CAPITAL LETTER VE}\N{CYRILLIC CAPITAL LETTER O}\N{CYRILLIC CAPITAL LETTER VE}"

letters = st.characters(categories=["L", "M", "N", "P", "S", "Cf", "Co", "Cs", "Zs"])
FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
names = st.text(letters, min_size=1, max_size=20)


def look(name: str) -> str:
    return read_username(name).lookalike_key


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("alice", "alice"),
        ("ALICE", "alice"),
        ("\uff21\uff4c\uff49\uff43\uff45", "alice"),  # full width
        ("Zoe\u0301", "zo\xe9"),  # decomposed
        ("\u212b", "\xe5"),  # the Angstrom sign is a letter
        ("\u0416\u0410\u041d\u041d\u0410", "\u0436\u0430\u043d\u043d\u0430"),
        ("stra\xdfe", "stra\xdfe"),
        ("a.b-c_d@example.org", "a.b-c_d@example.org"),
        ("\u674e", "\u674e"),
        ("\uff76\uff9e", "\u30ac"),  # half width with its mark
        ("7", "7"),
    ],
)
def test_spellings_of_one_name_have_one_key(typed: str, key: str) -> None:
    """Letter case, width and normalisation make no difference (RFC 8265 section 3.3)."""
    assert username_key(typed) == key


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "al ice",
        " alice",
        "alice\n",
        "al\x00ice",
        "al\u00a0ice",
        "al\u200bice",  # zero width space
        "al\u202eice",  # right-to-left override
        "al\u00adice",  # soft hyphen
        "al\ufeffice",
        "al\u200dice",  # a joiner where nothing joins
        "\ud800",  # a lone surrogate
        "\u0301a",  # a mark before anything
        "\u2460",  # a number in a circle
        "\ufb01sh",  # a ligature
        "\U0001d41a",  # a mathematical letter
        "\U0001f600",
        "\u2665",
        "a\u05d0",  # left-to-right and right-to-left in one name
        "\u03f4",  # lower case is a letter, as typed it is a compatibility character
        "x" * (MAX_CHARACTERS + 1),
        "\U0001043e" * MAX_CHARACTERS,  # 64 characters, 256 bytes
        "e\u0301" * (MAX_CHARACTERS + 1),
        "x" * 1_000_000,
    ],
)
def test_what_cannot_be_a_name_is_refused(typed: str) -> None:
    """No space, nothing invisible, no look-alike form of a letter, nothing too long; at sign-in it is nobody's name."""
    with pytest.raises(InvalidUsername, match="user name must be"):
        read_username(typed)


@pytest.mark.parametrize("typed", ["x" * MAX_CHARACTERS, "e\u0301" * MAX_CHARACTERS, "\u674e" * MAX_CHARACTERS])
def test_the_longest_name_is_measured_after_mapping(typed: str) -> None:
    """64 characters, however many code points they were typed with."""
    assert len(read_username(typed).key) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("coco", CYRILLIC_COCO),
        ("paypal", f"p{CYRILLIC_A}ypal"),
        ("bob", CYRILLIC_BOB_IN_CAPITALS),
        ("BOB", CYRILLIC_BOB_IN_CAPITALS),
        ("oo", "\N{GREEK SMALL LETTER OMICRON}" * 2),
        ("google", "g\N{ARMENIAN SMALL LETTER OH}\N{CYRILLIC SMALL LETTER O}gle"),
        ("google", "\N{LATIN SMALL LETTER SCRIPT G}oogle"),
        ("irma", "\N{LATIN SMALL LETTER DOTLESS I}rma"),
        ("apple", f"{CYRILLIC_APP}\N{CYRILLIC SMALL LETTER PALOCHKA}\N{CYRILLIC SMALL LETTER IE}"),
        ("apple", f"{CYRILLIC_APP}\N{CYRILLIC LETTER PALOCHKA}\N{CYRILLIC SMALL LETTER IE}"),
        ("apple", "app\N{CYRILLIC SMALL LETTER PALOCHKA}e"),
        ("apple", "appIe"),
        ("apple", f"{CYRILLIC_APP}\N{CYRILLIC CAPITAL LETTER BYELORUSSIAN-UKRAINIAN I}\N{CYRILLIC SMALL LETTER IE}"),
        ("apple", "app\N{GREEK CAPITAL LETTER IOTA}e"),
        ("hello", "heIIo"),
        ("irma", "\N{GREEK CAPITAL LETTER IOTA}rma"),
        ("ibm", "\N{CYRILLIC CAPITAL LETTER BYELORUSSIAN-UKRAINIAN I}BM"),
        ("alice", "al\N{GREEK SMALL LETTER IOTA}ce"),
        ("dave", "\N{CHEROKEE SMALL LETTER A}ave"),  # drawn as a small capital D
        ("o'neil", "o\N{MODIFIER LETTER APOSTROPHE}neil"),
        *[
            ("billing-admin", spoof)
            for spoof in [
                "billing-admi\u0307n",  # a dot above on what has one
                "bi\u0307lling-admin",
                "billing-adm\u0131\u0307n",  # and on what has none, which then has
                "billing-adm\u0456\u0307n",
                "bil\u0307ling-admin",
                "billing-admi\u0307\u0307n",
                "billing-adm\U00016fe4in",  # the Khitan filler
                "billing-adm\U0001bc9din",  # a Duployan selector
                "billing-admin\u2d7f",  # the Tifinagh joiner
                "billing-admi\U00010a3fn",  # what stacks letters in Kharoshthi
                "billing-admi\U0001107fn",  # what joins numbers in Brahmi
                "billing\u1039-adm\u17d2in",
                "billing-admi\U00016fe4\u0307\u2d7fn",
                "BILLING-ADM\u0130N",
            ]
        ],
        ("joe", "j\u0307oe"),
        ("joe", "\N{CYRILLIC SMALL LETTER JE}\u0307oe"),
        ("\u1ecbda", "i\u0323\u0307da"),  # a dot below as well
        ("\u029d\u0307", "\u029d"),
        ("jos\xe9", "jose\U00016fe4\u0301"),
        ("\u1000x", "\u1000\u1039x"),  # one letter of Myanmar is not stacked
        (  # neither of them all Latin
            "\N{CYRILLIC SMALL LETTER ZHE}a",
            f"\N{CYRILLIC SMALL LETTER ZHE}{CYRILLIC_A}",
        ),
        (  # Greek and Cyrillic, no Latin at all
            "\N{GREEK SMALL LETTER KAPPA}\N{GREEK SMALL LETTER OMICRON}\N{GREEK SMALL LETTER TAU}",
            "\N{CYRILLIC SMALL LETTER KA}\N{CYRILLIC SMALL LETTER O}\N{CYRILLIC SMALL LETTER TE}",
        ),
        (  # joiners are not seen
            "\N{DEVANAGARI LETTER KA}\N{DEVANAGARI SIGN VIRAMA}\N{ZERO WIDTH JOINER}\N{DEVANAGARI LETTER SSA}",
            "\N{DEVANAGARI LETTER KA}\N{DEVANAGARI SIGN VIRAMA}\N{DEVANAGARI LETTER SSA}",
        ),
    ],
)
def test_names_that_look_the_same_exclude_each_other(one: str, other: str) -> None:
    """Letters of other scripts that look like Latin ones count as those, in whole names and in mixed ones."""
    assert look(one) == look(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user1", "userl"),
        ("modern", "modem"),
        ("bob0", "bobo"),
        ("vv", "w"),
        ("ivan", "lvan"),
        ("IVAN", "lvan"),
        ("useri", "userl"),
        ("jose", "jos\xe9"),
        ("ida", "\xedda"),
        ("ida", "\xefda"),
        ("ida", "\u1ecbda"),
        ("eda", "\u0117da"),
        ("zoe", "\u017coe"),
        ("\u1000\u1000", "\u1000\u1039\u1000"),  # stacked in Myanmar, and in Khmer
        ("\u1780\u1780", "\u1780\u17d2\u1780"),
        ("\u2d5c\u2d5c", "\u2d5c\u2d7f\u2d5c"),
        ("muller", "m\xfcller"),
        ("strasse", "stra\xdfe"),
        ("k\xe6re", "kaere"),
        ("bob", CYRILLIC_BOB_IN_CAPITALS.lower()),
        ("\N{THAI CHARACTER DO DEK}", "\N{THAI CHARACTER TO TAO}"),
        ("\N{ARABIC LETTER THEH}", "\N{ARABIC LETTER PEH}"),
        ("\N{CYRILLIC SMALL LETTER I}", "\N{CYRILLIC SMALL LETTER SHORT I}"),
    ],
)
def test_names_that_differ_for_their_readers_are_two(one: str, other: str) -> None:
    """ASCII stands for itself, accents count, and so do letters of one script that resemble each other."""
    assert look(one) != look(other)
    assert username_key(one) != username_key(other)


def test_a_letter_of_one_case_is_seen_as_it_is_drawn_in_both() -> None:
    """Where a capital is not called one, its small letter was added to a script of one case and is drawn like it."""
    for point in range(0x80, 0x20000):
        small = chr(point)
        capital = small.upper()
        if len(capital) != 1 or not capital.isupper() or "CAPITAL" in unicodedata.name(capital):
            continue
        drawn = lookalike_key(capital)
        assert lookalike_key(small) == drawn or not drawn.isascii() or len(drawn) > 1


@given(names)
def test_a_key_is_its_own_key(name: str) -> None:
    """Reading what was stored changes nothing (RFC 8264 section 7: idempotent), nor does it change the typed form."""
    key = username_key(name)
    assume(key is not None)
    assert key is not None
    assert username_key(key) == key
    text = read_username(name).text
    assert read_username(text).text == text
    assert username_key(text) == key


@given(names, st.sampled_from(FORMS))
def test_normalisation_makes_no_difference(name: str, form: Literal["NFC", "NFD"]) -> None:
    """Composed and decomposed, a name is the same name and looks the same."""
    assume(username_key(name) is not None)
    other = unicodedata.normalize(form, name)
    assert username_key(other) == username_key(name)
    assert look(other) == look(name)


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x24F), min_size=1, max_size=20))
def test_case_makes_no_difference(name: str) -> None:
    """In capitals and in small letters a name is the same, for the letters whose capital has one small letter."""
    assume(username_key(name) is not None)
    assume(name.swapcase().swapcase() == name)
    assert username_key(name.lower()) == username_key(name)
    assert username_key(name.swapcase()) == username_key(name)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=MAX_CHARACTERS))
def test_width_makes_no_difference(name: str) -> None:
    """Full-width forms are the ASCII characters they are drawn like."""
    wide = "".join(chr(ord(character) + 0xFEE0) for character in name)
    assert read_username(wide) == read_username(name)
    assume("I" not in name)
    assert look(name) == name.lower()


@given(names)
def test_whatever_is_typed_is_a_name_or_is_refused(name: str) -> None:
    """No other outcome; a name that is allowed fits its limits and can be stored and printed."""
    try:
        username = read_username(name)
    except InvalidUsername:
        return
    assert 1 <= len(username.key) <= MAX_CHARACTERS
    for text in (username.text, username.key, username.lookalike_key):
        assert "\x00" not in text
        assert len(text.encode()) <= 2 * MAX_BYTES
