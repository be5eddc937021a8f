"""Strict JSON (RFC 8259, RFC 7493)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strict_json import MAX_JSON_DEPTH, strict_json_loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_json_is_read(value: Any, ascii_only: bool) -> None:
    """Any JSON value is read as it was written, escaped or not, with the whitespace JSON allows around it."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert strict_json_loads(f" \t\r\n{text} \n".encode()) == value


REFUSED = {
    "duplicate member": b'{"a":1,"a":1}',
    "duplicate member, inner": b'{"x":[{"a":1,"a":1}]}',
    "duplicate member, one escaped": b'{"a":1,"\\u0061":1}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without a mark": "{}".encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32"),
    "not UTF-8": b'"\xff"',
    "overlong UTF-8": b'"\xc0\x80"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "lone surrogate": b'["\\ud800"]',
    "lone surrogate in a name": b'{"\\udfff":1}',
    "NaN": b"NaN",
    "Infinity": b"[-Infinity]",
    "beyond a double": b"[1e400]",
    "nothing": b"",
    "whitespace": b" ",
    "two values": b"{}{}",
    "trailing text": b"{} x",
    "other whitespace": "\u00a0{}".encode(),
    "trailing comma": b"[1,]",
    "comment": b"{}//",
    "single quotes": b"{'a':1}",
    "control character": b'"\x01"',
    "5000 digits": b"1" * 5_000,
    "too deep": b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
    "100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "100,000 deep, objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_strict_is_refused(data: bytes) -> None:
    """Everything two readers could disagree about is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - that it is a ValueError, whatever its text, is the rule
        strict_json_loads(data)


def test_the_depth_is_counted_exactly() -> None:
    """The deepest allowed nesting is read, and brackets in text or side by side are no nesting."""
    deepest = b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH
    assert strict_json_loads(deepest) is not None
    assert strict_json_loads(json.dumps("[" * 1_000).encode()) == "[" * 1_000
    assert len(strict_json_loads(b"[" + b"[]," * 999 + b"[]]")) == 1_000


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ValueError ever comes out, and what is read could be written in UTF-8."""
    try:
        value = strict_json_loads(data)
    except ValueError:
        return
    json.dumps(value, ensure_ascii=False).encode()
