"""How long a document is fresh (RFC 9111), and what an entity tag may be."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from resource_service.protection.bounded_fetch import _read_etag, _read_freshness


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 300),
        ({"Cache-Control": "max-age=120"}, 120),
        ({"Cache-Control": "public, MAX-AGE=120, must-revalidate"}, 120),
        ({"Cache-Control": 'max-age="120"'}, 120),
        ({"Cache-Control": "max-age=120", "Age": "50"}, 70),
        ({"Cache-Control": "max-age=120", "Age": "119"}, 30),
        ({"Cache-Control": "max-age=120", "Age": "-5"}, 120),
        ({"Cache-Control": "max-age=120", "Age": "x"}, 120),
        ({"Cache-Control": "max-age=1"}, 30),
        ({"Cache-Control": "max-age=0"}, 30),
        ({"Cache-Control": "max-age=86400"}, 900),
        ({"Cache-Control": "max-age=99999999999999999999"}, 300),
        ({"Cache-Control": "max-age=-1"}, 300),
        ({"Cache-Control": "s-maxage=600"}, 300),
        ({"Cache-Control": "x-max-age=600"}, 300),
        ({"Cache-Control": "no-cache"}, 30),
        ({"Cache-Control": "max-age=600, no-store"}, 30),
        ({"Age": "100"}, 300),
    ],
    ids=str,
)
def test_freshness_is_what_is_said_within_bounds(headers: dict[str, str], seconds: float) -> None:
    """`max-age` less `Age`, between 30 s and 15 min; 300 s when nothing usable is said."""
    assert _read_freshness(CIMultiDict(headers)) == seconds


@pytest.mark.parametrize("etag", ["", "a" * 257, '"ä"', '"a\x01"'], ids=ascii)
def test_a_strange_tag_is_not_sent_back(etag: str) -> None:
    """Only a short printable tag becomes a request header."""
    assert _read_etag(CIMultiDict({"ETag": etag})) is None
    assert _read_etag(CIMultiDict({"ETag": 'W/"a"'})) == 'W/"a"'
