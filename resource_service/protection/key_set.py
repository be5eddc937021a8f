"""A key set as it was fetched: read strictly, then never changed (RFC 7517 section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from shared.jwk import JwkRules, PublicJwk, SkipReason, read_jwk
from shared.strict_json import strict_json_loads

log = structlog.get_logger(__name__)

MAX_KEYS: Final = 32
"""Ours; an issuer that rotates has two or three."""
# An issuer that publishes these has made a mistake somebody should hear of.
ALARMING: Final = frozenset({SkipReason.PRIVATE_MEMBER, SkipReason.DUPLICATE_KEY_ID})


class UnusableKeySet(ValueError):
    """What was fetched is no key set, or none of its keys can be used."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys by key id, and how many were skipped for which reason."""

    by_kid: Mapping[str, PublicJwk]
    skipped: Mapping[SkipReason, int]

    def same_keys(self, other: KeySet) -> bool:
        """Whether both hold the same keys for the same algorithms."""
        return _essence(self) == _essence(other)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The key set in force. `generation` grows whenever the keys change; times are monotonic seconds.

    Until `fresh_until` the set is fresh, until `hard_until` it is served stale, and from then on not at all.
    """

    keys: KeySet
    generation: int
    fetched: float
    fresh_until: float
    hard_until: float
    etag: str | None = None


def read_key_set(body: bytes, rules: JwkRules) -> KeySet:
    """Read a JWK set; unusable keys are skipped, UnusableKeySet when none is left or the form is wrong."""
    try:
        document = strict_json_loads(body)
    except ValueError:
        raise UnusableKeySet("not JSON") from None
    jwks = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(jwks, list):
        raise UnusableKeySet("not a key set")
    if len(jwks) > MAX_KEYS:
        raise UnusableKeySet("too many keys")
    named = Counter(jwk["kid"] for jwk in jwks if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str))
    by_kid: dict[str, PublicJwk] = {}
    skipped: Counter[SkipReason] = Counter()
    for jwk in jwks:
        key = read_jwk(jwk, rules)
        if not isinstance(key, SkipReason) and named[key.kid] > 1:
            key = SkipReason.DUPLICATE_KEY_ID
        if isinstance(key, SkipReason):
            skipped[key] += 1
        else:
            by_kid[key.kid] = key
    if not by_kid:
        raise UnusableKeySet("no usable key")
    return KeySet(by_kid, skipped)


def report_skipped(issuer: str, skipped: Mapping[SkipReason, int]) -> None:
    """Say which keys of an issuer's set are not used; loudly where the issuer has made a dangerous mistake."""
    for reason, count in skipped.items():
        say = log.error if reason in ALARMING else log.warning
        say("key_skipped", issuer=issuer, reason=reason.value, count=count)


def _essence(keys: KeySet) -> set[tuple[str, str, tuple[tuple[str, str], ...]]]:
    return {(key.kid, key.algorithm, tuple(sorted(key.members.items()))) for key in keys.by_kid.values()}
