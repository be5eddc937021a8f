"""JSON as tokens, key sets and request bodies must spell it (RFC 8259, RFC 7493)."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_JSON_DEPTH = 32
"""Nesting beyond this is refused; nothing we read comes near it."""
PERHAPS_TOO_LARGE = re.compile(r"(?<!\d)\d{200}|[eE]\+?\d{3}")
"""What a number beyond a double (1.8e308) cannot do without: with fewer digits and a shorter exponent it fits."""
DIGITS = b"0123456789"
MAX_SHORT_DIGITS = 308
"""With so few digits in all, as in a token, no integer is beyond a double: only a fraction or exponent may be."""
JSON_WHITESPACE = " \t\n\r"


def strict_json_loads(data: bytes, *, walk: bool = True) -> Any:
    """Read JSON strictly; raise ValueError, and nothing else, for what is not.

    Refused beside syntax errors: bytes that are not UTF-8, a byte order mark, duplicate members, NaN and
    Infinity, numbers beyond a double, lone surrogates, nesting beyond MAX_JSON_DEPTH. A caller that looks at
    every value itself may leave out the `walk` that finds the last two.
    """
    text = data.decode("utf-8").strip(JSON_WHITESPACE)
    try:
        value, end = _decoder_for(data, text).raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError("more than one value")
    # Neither fault is possible without these characters, and a walk costs more than all the rest. One character
    # is looked for several times faster than two.
    if not walk:
        return value
    if ("\\" in text and "\\u" in text) or text.count("[") + text.count("{") > MAX_JSON_DEPTH:
        _check_depth_and_text(value)
    return value


def _decoder_for(data: bytes, text: str) -> json.JSONDecoder:
    """The quickest decoder that still refuses a number beyond a double."""
    if len(data) - len(data.translate(None, DIGITS)) <= MAX_SHORT_DIGITS:
        return _SHORT_DECODER
    # Python's own numbers are quicker by far than ones that are looked at one by one.
    return _CHECKING_DECODER if PERHAPS_TOO_LARGE.search(text) else _DECODER


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(_name: str) -> Any:
    raise ValueError("not a JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return number


def _finite_int(text: str) -> int:
    _finite_float(text)
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_no_constant)
_SHORT_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite_float
)
_CHECKING_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite_float, parse_int=_finite_int
)


def _check_depth_and_text(value: Any) -> None:
    level = [value]
    for _ in range(MAX_JSON_DEPTH + 1):
        below: list[Any] = []
        containers = False
        for item in level:
            if isinstance(item, str):
                item.encode("utf-8")  # UnicodeEncodeError, a ValueError, for a lone surrogate
            elif isinstance(item, dict):
                containers = True
                below.extend(item.keys())
                below.extend(item.values())
            elif isinstance(item, list):
                containers = True
                below.extend(item)
        if not containers:
            return
        level = below
    raise ValueError("nested too deeply")
