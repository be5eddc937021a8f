"""How the feed does, for Prometheus: read when it is asked for, so readers pay nothing."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from auth_service.revocations.feed import RevocationFeed

PREFIX = "signet_revocation_feed"


class FeedCollector(Collector):
    """The figures of one process's feed."""

    def __init__(self, feed: RevocationFeed) -> None:
        self._feed = feed

    def collect(self) -> Iterable[Metric]:
        figures = self._feed.figures
        yield GaugeMetricFamily(f"{PREFIX}_waiting", "Readers that wait for news.", figures.waiting)
        yield GaugeMetricFamily(f"{PREFIX}_sequence", "The feed's last sequence number as read.", self._feed.sequence)
        yield CounterMetricFamily(f"{PREFIX}_served", "Documents given out.", figures.served)
        yield CounterMetricFamily(f"{PREFIX}_signatures", "Documents signed.", figures.signatures)
        yield CounterMetricFamily(f"{PREFIX}_looks", "Readings of the feed's end.", figures.looks)
