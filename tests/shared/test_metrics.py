"""Figures for Prometheus: what is counted, and that no caller decides how many series there are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from shared.errors import Conflict
from shared.metrics import BUCKETS, RequestFigures, create_metrics_app, create_registry
from shared.web import create_app

COUNT = "signet_http_request_duration_seconds_count"


class Items:
    """Routes with and without a parameter."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/items/{name}", self.get),
            web.get("/conflict", self.conflict),
            web.get("/broken", self.broken),
        ]

    async def get(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def conflict(self, _request: web.Request) -> web.Response:
        raise Conflict("It is taken.")

    async def broken(self, _request: web.Request) -> web.Response:
        raise KeyError


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry with nothing else in it."""
    return CollectorRegistry()


@pytest.fixture
async def client(
    registry: CollectorRegistry, aiohttp_client: AiohttpClient
) -> TestClient[web.Request, web.Application]:
    """An app whose requests are counted in `registry`."""
    return await aiohttp_client(create_app([Items()], figures=RequestFigures(registry)))


def counts(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    """How often each method, route and status was answered."""
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == COUNT
    }


async def test_requests_are_counted_by_route_and_status(
    client: TestClient[web.Request, web.Application], registry: CollectorRegistry
) -> None:
    """Answers, refusals and faults each count under the route's pattern and the status that was sent."""
    for path in ("/items/a", "/items/b", "/conflict", "/broken"):
        await client.get(path)
    assert counts(registry) == {
        ("GET", "/items/{name}", "200"): 2,
        ("GET", "/conflict", "409"): 1,
        ("GET", "/broken", "500"): 1,
    }


async def test_callers_cannot_make_series(
    client: TestClient[web.Request, web.Application], registry: CollectorRegistry
) -> None:
    """Unknown paths share one label, and so do methods nobody uses here: the memory they take is bounded."""
    for number in range(20):
        await client.get(f"/nowhere/{number}")
    for method in ("PROPFIND", "MKCOL", "REPORT"):
        await client.request(method, "/nowhere")
    assert counts(registry) == {("GET", "unmatched", "404"): 20, ("other", "unmatched", "404"): 3}


async def test_the_histogram_adds_up(
    client: TestClient[web.Request, web.Application], registry: CollectorRegistry
) -> None:
    """Buckets are cumulative, the last one is the count, and the sum is the time taken."""
    for _ in range(10):
        await client.get("/items/a")
    samples = [sample for family in registry.collect() for sample in family.samples]
    buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
    total = next(sample.value for sample in samples if sample.name.endswith("_sum"))
    assert len(buckets) == len(BUCKETS) + 1
    assert buckets == sorted(buckets)
    assert buckets[-1] == 10
    assert 0 < total < 10 * BUCKETS[-1]


async def test_the_listener_shows_them_as_prometheus_text(aiohttp_client: AiohttpClient) -> None:
    """`GET /metrics` is the text format with the process's own figures, and is not stored by anybody."""
    registry = create_registry()
    figures = RequestFigures(registry)
    client = await aiohttp_client(create_app([Items()], figures=figures))
    await client.get("/items/a")
    listener = await aiohttp_client(create_metrics_app(registry))
    response = await listener.get("/metrics")
    text = await response.text()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_gc_collections"} <= families
    assert "signet_http_request_duration_seconds" in families
    assert 'route="/items/{name}",status="200"' in text


async def test_the_listener_has_nothing_else(aiohttp_client: AiohttpClient) -> None:
    """Everything but `/metrics` is 404 in the form of every refusal; its own requests are not counted."""
    registry = create_registry()
    listener = await aiohttp_client(create_metrics_app(registry))
    response = await listener.get("/userData")
    assert (response.status, (await response.json())["error"]) == (404, "not_found")
    assert COUNT not in await (await listener.get("/metrics")).text()
