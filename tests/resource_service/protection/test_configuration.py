"""What a protected resource may be told: nothing that would skip a check or leave TLS by accident."""

from __future__ import annotations

from typing import Any

import pytest

from resource_service.protection import ProtectedResource, TrustedIssuer
from resource_service.protection.access_rule import AccessRule, protect, public, rule_of
from shared.scope import Scope

LOGIN = TrustedIssuer("https://login.example")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example",
        "http://login.example",
        "ftp://login.example",
        "file:///keys",
        "https://a:b@login.example",
        "https://login.example#x",
        "https://login.example?x=1",
        "HTTPS://login.example",
        "https://Login.example",
        "https://login.example/a b",
    ],
)
def test_an_unsafe_address_stops_the_start(url: str) -> None:
    """Issuer and identifier are https URLs in one spelling; http is for loopback and named hosts (CVE-2026-48522)."""
    with pytest.raises(ValueError, match=r"must|issuer"):
        ProtectedResource("https://api.example", (TrustedIssuer(url),))
    with pytest.raises(ValueError, match="must"):
        ProtectedResource(url, (LOGIN,))


@pytest.mark.parametrize(
    "url", ["http://keys.example/k", "file:///k", "https://a@keys.example/k", "https://k.example/#x", "k"]
)
def test_an_unsafe_key_address_stops_the_start(url: str) -> None:
    """The same for the key set, which may have a query."""
    with pytest.raises(ValueError, match="must"):
        ProtectedResource("https://api.example", (TrustedIssuer("https://login.example", jwks_uri=url),))
    ProtectedResource("https://api.example", (TrustedIssuer("https://a.example", jwks_uri="https://a.example/k?p=1"),))


def test_plain_http_is_for_loopback_and_named_hosts() -> None:
    """A test machine and a container network need no certificate; nobody else gets by without."""
    for host in ("http://localhost:8001", "http://127.0.0.1:1", "http://[::1]:1"):
        ProtectedResource(host, (TrustedIssuer(host, jwks_uri=f"{host}/keys"),))
    ProtectedResource("https://api.example", (TrustedIssuer("http://auth:8001"),), plain_http_hosts=("auth",))
    with pytest.raises(ValueError, match="https"):
        ProtectedResource("https://api.example", (TrustedIssuer("http://auth.evil:8001"),), plain_http_hosts=("auth",))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"issuers": ()}, "at least one issuer"),
        ({"issuers": (LOGIN, LOGIN)}, "twice"),
        ({"scopes": Scope("offline_access")}, "offline_access"),
        ({"identifier": ""}, "must"),
    ],
    ids=str,
)
def test_a_resource_that_would_be_open_cannot_be_made(settings: dict[str, Any], complaint: str) -> None:
    """No issuer or no audience stops the start (CVE-2026-55689, CVE-2026-40946)."""
    with pytest.raises(ValueError, match=complaint):
        ProtectedResource(**{"identifier": "https://api.example", "issuers": (LOGIN,)} | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"stale_seconds": -1},
        {"stale_seconds": 86_401},
        {"algorithms": frozenset({"HS256"})},
        {"algorithms": frozenset()},
        {"leeway": 120},
        {"min_rsa_bits": 1_024},
        {"unlabelled_algorithm": "none"},
        {"issuer": ""},
    ],
    ids=str,
)
def test_an_issuer_is_trusted_within_bounds_only(settings: dict[str, Any]) -> None:
    """Bounds that protect are not configurable away."""
    with pytest.raises(ValueError, match=r"must|algorithm"):
        TrustedIssuer(**{"issuer": "https://login.example"} | settings)


def test_marks() -> None:
    """A mark is a value on the handler; a handler without one has none, and so has a strange attribute."""

    @protect("a", "b", any_of=["c", "d"], acr=["1"], max_age=60)
    def marked() -> None: ...

    @public
    def opened() -> None: ...

    def unmarked() -> None: ...

    assert rule_of(marked) == AccessRule(Scope("a", "b"), Scope("c", "d"), ("1",), 60)
    assert rule_of(opened) is not None
    assert rule_of(unmarked) is None
    unmarked.__access_rule__ = "open"  # type: ignore[attr-defined]
    assert rule_of(unmarked) is None


def test_a_rule_says_what_to_ask_for() -> None:
    """All of `scope`, and the first of `any_of`, each once."""
    assert str(AccessRule(Scope("a"), Scope("b", "c")).needed_scope) == "a b"
    assert str(AccessRule(Scope("a"), Scope("a", "c")).needed_scope) == "a"
    assert not AccessRule().needed_scope
    with pytest.raises(ValueError, match="scope token"):
        protect("a b")
