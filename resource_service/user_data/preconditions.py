"""`If-Match` and `If-None-Match` (RFC 9110 sections 13.1.1 and 13.1.2), read strictly and decided in one place.

Dates are not compared: no `Last-Modified` is sent, because a clock of whole seconds cannot tell two writes apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from shared.errors import InvalidRequest

ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
"""RFC 9110 section 8.8.3: an optional weak mark, then the opaque part in quotes."""
ENTITY_TAGS = re.compile(rf"[ \t,]*{ENTITY_TAG.pattern}(?:[ \t]*,[ \t,]*{ENTITY_TAG.pattern})*[ \t,]*")
"""A list of them; empty elements are passed over (RFC 9110 section 5.6.1)."""

MAX_CHARACTERS = 4_096
"""Of one field, however many lines it came in: some 100 tags of ours. Reading what is longer would hold the loop up."""


@dataclass(frozen=True, slots=True)
class EntityTags:
    """The value of one condition: `any` for `*`, otherwise the opaque parts of the tags listed."""

    any: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def match_strongly(self, etag: str | None) -> bool:
        """Whether the current strong tag is among them by strong comparison; None is "nothing there"."""
        return etag is not None and (self.any or etag in self.strong)

    def match_weakly(self, etag: str | None) -> bool:
        """Whether it is among them by weak comparison, which ignores the mark."""
        return etag is not None and (self.any or etag in self.strong or etag in self.weak)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request wants to hold before it is carried out."""

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None

    def if_match_holds(self, etag: str | None) -> bool:
        return self.if_match is None or self.if_match.match_strongly(etag)

    def if_none_match_holds(self, etag: str | None) -> bool:
        return self.if_none_match is None or not self.if_none_match.match_weakly(etag)

    def hold(self, etag: str | None) -> bool:
        """Whether a write to what now has `etag` (None: nothing there) may go on."""
        return self.if_match_holds(etag) and self.if_none_match_holds(etag)


UNCONDITIONAL = Preconditions()


def parse_preconditions(headers: CIMultiDictProxy[str]) -> Preconditions:
    """Read both fields; raise InvalidRequest for one that is malformed, since guessing could lose an update."""
    if_match = headers.getall("If-Match", None)
    if_none_match = headers.getall("If-None-Match", None)
    if if_match is None and if_none_match is None:
        return UNCONDITIONAL
    return Preconditions(_parse("If-Match", if_match), _parse("If-None-Match", if_none_match))


def _parse(field: str, lines: Sequence[str] | None) -> EntityTags | None:
    if lines is None:
        return None
    value = ", ".join(lines)
    if len(value) > MAX_CHARACTERS:
        raise InvalidRequest(f"{field} is too long.")
    if value.strip(" \t") == "*":
        return EntityTags(any=True)
    if not ENTITY_TAGS.fullmatch(value):
        raise InvalidRequest(f"{field} must be * or a list of entity tags.")
    tags = ENTITY_TAG.findall(value)
    return EntityTags(
        strong=frozenset(opaque for weak, opaque in tags if not weak),
        weak=frozenset(opaque for weak, opaque in tags if weak),
    )
