"""Health for people and for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from tests.clock import FrozenClock
from tests.protocol.minting import ISSUER, mint, signing_key
from tests.resource_service.protection.application import Api
from tests.resource_service.protection.issuer import Issuer, body_of, until


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"signet_protection_{name}", labels)


async def test_the_figures_tell_what_happened(api: Api, issuer: Issuer, clock: FrozenClock) -> None:
    """Age, generation, keys, failures, staleness, gate, cache and refusals can be read from the metrics."""
    registry = CollectorRegistry()
    registry.register(api.protection.figures)
    token = mint()
    for each in (token, token, "a.b", mint(claims={"exp": 1})):
        await api.get(token=each)
    issuer.answer = body_of(b"", status=500)
    clock.advance(310)
    await until(lambda: api.protection.health().issuers[0].keys.failures_in_row == 1)
    issue = {"issuer": ISSUER}
    expected = {
        "keys_usable": 1,
        "keys_stale": 1,
        "keys_age_seconds": 310,
        "keys_generation": 1,
        "key_fetches_total": 2,
        "key_fetch_failures_in_row": 1,
        "unknown_key_gate_open": 1,
        "unknown_key_waiting": 0,
        "cached_tokens": 1,
        "cache_hits_total": 1,
        "cache_misses_total": 3,
        "cache_evictions_total": 0,
    }
    assert {name: sample(registry, name, **issue) for name in expected} == expected
    assert sample(registry, "key_fetch_failures_total", fault="status", **issue) == 1
    assert sample(registry, "key", kid=signing_key().kid, **issue) == 1
    assert sample(registry, "tokens_refused_total", fault="format") == 1
    assert sample(registry, "tokens_refused_total", fault="expired") == 1
    assert token.encode() not in generate_latest(registry)


async def test_readiness_is_brief(api: Api, issuer: Issuer, clock: FrozenClock) -> None:
    """Ready as long as tokens can be checked, with age, number of keys and staleness."""
    assert await api.protection.readiness.report() == (True, {"age_seconds": 0, "keys": 1, "stale": False})
    issuer.answer = body_of(b"", status=500)
    clock.advance(1_000)
    assert await api.protection.readiness.report() == (True, {"age_seconds": 1000, "keys": 1, "stale": True})
    clock.advance(2_600)
    holds, _ = await api.protection.readiness.report()
    assert not holds
