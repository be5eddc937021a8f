"""How the protection does, for readiness and for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resource_service.protection.remote_key_set import KeySetHealth
from resource_service.protection.remote_status_list import StatusListHealth
from resource_service.protection.revocation_feed import FeedHealth, FeedState
from resource_service.protection.token_cache import CacheFigures
from shared.bearer import TokenFault

PREFIX = "signet_protection"


@dataclass(frozen=True, slots=True)
class IssuerHealth:
    """One trusted issuer's keys, the cache of its tokens, and what it revoked."""

    keys: KeySetHealth
    cache: CacheFigures
    revocations: FeedHealth
    status_lists: StatusListHealth

    @property
    def usable(self) -> bool:
        """Whether its tokens can be checked."""
        return self.keys.usable and self.revocations.usable and self.status_lists.usable


@dataclass(frozen=True, slots=True)
class ProtectionHealth:
    """All issuers, and how many tokens were refused for which fault."""

    issuers: tuple[IssuerHealth, ...]
    refusals: Mapping[TokenFault, int]

    @property
    def usable(self) -> bool:
        """Whether every trusted issuer's tokens can be checked."""
        return all(issuer.usable for issuer in self.issuers)


class ProtectionReadiness:
    """A condition of `GET /readyz`: there is a usable key set of every issuer, and its revocations are known."""

    name = "keys"

    def __init__(self, health: Callable[[], ProtectionHealth]) -> None:
        self._health = health

    async def report(self) -> tuple[bool, Mapping[str, object]]:
        """Whether it holds, and briefly how old the oldest set is and how many keys there are."""
        health = self._health()
        ages = [issuer.keys.age for issuer in health.issuers if issuer.keys.age is not None]
        return health.usable, {
            "age_seconds": round(max(ages)) if ages else None,
            "keys": sum(len(issuer.keys.kids) for issuer in health.issuers),
            "stale": any(issuer.keys.stale for issuer in health.issuers),
            **_revocations(health),
            **_status_lists(health),
        }


def _revocations(health: ProtectionHealth) -> Mapping[str, object]:
    """How old what is known of revocations is; nothing when no issuer has a feed."""
    feeds = [issuer.revocations for issuer in health.issuers if issuer.revocations.state is not FeedState.NONE]
    ages = [feed.age for feed in feeds if feed.age is not None]
    if not feeds:
        return {}
    return {
        "revocations_age_seconds": round(max(ages)) if ages else None,
        "revocations_stale": any(feed.stale for feed in feeds),
    }


def _status_lists(health: ProtectionHealth) -> Mapping[str, object]:
    """How old what is known of tokens' status is; nothing when no issuer's lists are followed."""
    followed = [issuer.status_lists for issuer in health.issuers if issuer.status_lists.followed]
    ages = [lists.age for lists in followed if lists.age is not None]
    if not followed:
        return {}
    return {
        "status_lists": sum(lists.lists for lists in followed),
        "status_lists_age_seconds": round(max(ages)) if ages else None,
        "status_lists_stale": any(lists.stale for lists in followed),
    }


class ProtectionFigures(Collector):
    """The same for Prometheus, read when it is asked for: requests pay nothing."""

    def __init__(self, health: Callable[[], ProtectionHealth]) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        health = self._health()
        for name, (text, read) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["issuer"])
            for issuer in health.issuers:
                gauge.add_metric([issuer.keys.issuer], read(issuer))
            yield gauge
        for name, (text, read) in _COUNTERS.items():
            counter = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["issuer"])
            for issuer in health.issuers:
                counter.add_metric([issuer.keys.issuer], read(issuer))
            yield counter
        yield from _by_reason(health)


def _by_reason(health: ProtectionHealth) -> Iterable[Metric]:
    faults = CounterMetricFamily(
        f"{PREFIX}_key_fetch_failures", "Fetches of a key set that failed.", labels=["issuer", "fault"]
    )
    skipped = GaugeMetricFamily(
        f"{PREFIX}_keys_skipped", "Keys of the set in force that are not used.", labels=["issuer", "reason"]
    )
    keys = GaugeMetricFamily(f"{PREFIX}_key", "1 for each key in force.", labels=["issuer", "kid"])
    feed_faults = CounterMetricFamily(
        f"{PREFIX}_revocation_failures", "Documents of the feed not had or not used.", labels=["issuer", "fault"]
    )
    list_faults = CounterMetricFamily(
        f"{PREFIX}_status_list_failures", "Status lists not had or not used.", labels=["issuer", "fault"]
    )
    for issuer in health.issuers:
        for name, count in issuer.status_lists.faults.items():
            list_faults.add_metric([issuer.keys.issuer, name], count)
        for name, count in issuer.revocations.faults.items():
            feed_faults.add_metric([issuer.keys.issuer, name], count)
        for fault, count in issuer.keys.faults.items():
            faults.add_metric([issuer.keys.issuer, fault.value], count)
        for reason, count in issuer.keys.skipped.items():
            skipped.add_metric([issuer.keys.issuer, reason.value], count)
        for kid in issuer.keys.kids:
            keys.add_metric([issuer.keys.issuer, kid], 1)
    refusals = CounterMetricFamily(f"{PREFIX}_tokens_refused", "Tokens refused, by the rule broken.", labels=["fault"])
    for token_fault, count in health.refusals.items():
        refusals.add_metric([token_fault.value], count)
    return faults, skipped, keys, feed_faults, list_faults, refusals


_Read = Callable[[IssuerHealth], float]
_GAUGES: Mapping[str, tuple[str, _Read]] = {
    "keys_usable": ("1 while tokens can be checked.", lambda issuer: issuer.keys.usable),
    "keys_stale": ("1 while the key set is older than it should be.", lambda issuer: issuer.keys.stale),
    "keys_age_seconds": (
        "Time since the key set was last confirmed; NaN before the first.",
        lambda issuer: float("nan") if issuer.keys.age is None else issuer.keys.age,
    ),
    "keys_generation": ("Grows when the keys change.", lambda issuer: issuer.keys.generation),
    "key_fetch_failures_in_row": ("Failures since the last success.", lambda issuer: issuer.keys.failures_in_row),
    "unknown_key_gate_open": ("1 while callers may cause a fetch.", lambda issuer: issuer.keys.gate_open),
    "unknown_key_waiting": ("Requests waiting for a fetch.", lambda issuer: issuer.keys.waiting),
    "cached_tokens": ("Verified tokens kept.", lambda issuer: issuer.cache.entries),
    "cached_bytes": ("What they take, estimated.", lambda issuer: issuer.cache.estimated_bytes),
    "revocations_followed": (
        "1 while the issuer has a revocation feed.",
        lambda issuer: issuer.revocations.state is FeedState.FOLLOWED,
    ),
    "revocations_stale": ("1 while the feed was not heard of for too long.", lambda issuer: issuer.revocations.stale),
    "revocations_age_seconds": (
        "Time since the issuer last told all it had revoked; NaN before the first.",
        lambda issuer: float("nan") if issuer.revocations.age is None else issuer.revocations.age,
    ),
    "revocations_held": ("Entries kept until they expire.", lambda issuer: issuer.revocations.held),
    "revocations_sequence": ("The place reached in the feed.", lambda issuer: issuer.revocations.sequence),
    "revocation_failures_in_row": ("Failures since the last success.", lambda i: i.revocations.failures_in_row),
    "status_lists": ("Status lists kept fresh.", lambda issuer: issuer.status_lists.lists),
    "status_lists_stale": ("Those not heard of for too long.", lambda issuer: issuer.status_lists.stale),
    "status_lists_age_seconds": (
        "Time since the status list confirmed longest ago was; NaN before the first.",
        lambda issuer: float("nan") if issuer.status_lists.age is None else issuer.status_lists.age,
    ),
    "status_lists_waiting": ("Requests waiting for a list's first fetch.", lambda issuer: issuer.status_lists.waiting),
}
_COUNTERS: Mapping[str, tuple[str, _Read]] = {
    "key_fetches": ("Attempts to fetch the key set.", lambda issuer: issuer.keys.attempts),
    "revocation_documents": ("Documents of the feed taken in.", lambda issuer: issuer.revocations.documents),
    "status_list_fetches": ("Attempts to fetch a status list.", lambda issuer: issuer.status_lists.fetches),
    "status_lists_taken_in": ("Status lists taken in.", lambda issuer: issuer.status_lists.taken_in),
    "cache_hits": ("Tokens found verified.", lambda issuer: issuer.cache.hits),
    "cache_misses": ("Tokens that had to be verified.", lambda issuer: issuer.cache.misses),
    "cache_evictions": ("Tokens put out for want of room.", lambda issuer: issuer.cache.evictions),
}
