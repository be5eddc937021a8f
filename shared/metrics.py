"""Figures for Prometheus: those of every HTTP server, and the listener that shows them.

The listener has a port of its own, on loopback unless a setting says otherwise, so that a service's public port
never shows them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from time import perf_counter

from aiohttp import hdrs, web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from shared.web import NO_STORE, create_app

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, seconds."""
UNMATCHED = "unmatched"
"""The route label of a request that no route took: the path itself would let a caller make series at will."""


class RequestFigures(Collector):
    """Counts requests by method, route and status, with a latency histogram.

    It is on the way of every request, so it is two list increments and not a chain of labelled objects.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}
        self._by_route: dict[tuple[web.AbstractRoute, int], list[float]] = {}
        registry.register(self)

    def start(self) -> float:
        return perf_counter()

    def finish(self, request: web.Request, status: int, started: float) -> float:
        """Count one answer; return how many seconds it took."""
        seconds = perf_counter() - started
        route = request.match_info.route
        series = self._by_route.get((route, status))
        if series is None:
            series = self._series_of(request, route, status)
        series[bisect_left(BUCKETS, seconds)] += 1
        series[-1] += seconds
        return seconds

    def _series_of(self, request: web.Request, route: web.AbstractRoute, status: int) -> list[float]:
        method = request.method if request.method in hdrs.METH_ALL else "other"
        series = self._series.setdefault((method, self.route_of(request), status), [0.0] * (len(BUCKETS) + 2))
        # The route of 404 and 405 is made anew for each request and has no resource: not one to remember.
        if route.resource is not None and route.method == request.method:
            self._by_route[route, status] = series
        return series

    def route_of(self, request: web.Request) -> str:
        """The route's pattern, such as `/userData/{name}`."""
        resource = request.match_info.route.resource
        return UNMATCHED if resource is None else resource.canonical

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "signet_http_request_duration_seconds",
            "HTTP requests by method, route and status.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), series in list(self._series.items()):
            buckets = []
            total = 0.0
            for bound, count in zip((*BUCKETS, float("inf")), series, strict=False):
                total += count
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
            family.add_metric([method, route, str(status)], buckets, series[-1])
        yield family


def create_registry() -> CollectorRegistry:
    """A registry of this process's own, with the process's memory, CPU and garbage collection in it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class _MetricsEndpoint:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/metrics", self.get)]

    async def get(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={**NO_STORE, "Content-Type": CONTENT_TYPE_LATEST}
        )


def create_metrics_app(registry: CollectorRegistry) -> web.Application:
    """The listener: `GET /metrics` in the Prometheus text format. Its own requests are not counted."""
    return create_app([_MetricsEndpoint(registry)], figures=RequestFigures(CollectorRegistry()))
