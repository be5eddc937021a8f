"""Protected resource metadata (RFC 9728)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resource_service.protection import ProtectedResource, TrustedIssuer
from resource_service.protection.metadata import metadata_document
from shared.scope import Scope
from tests.clock import FrozenClock
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer

GOLDEN = Path(__file__).parent / "golden"
LOGIN = TrustedIssuer("https://login.example")


def golden(name: str) -> object:
    return json.loads((GOLDEN / name).read_bytes())


def test_the_full_document() -> None:
    """Every member that we enforce, as the golden file has it."""
    resource = ProtectedResource(
        "https://api.example/v1",
        (LOGIN, TrustedIssuer("https://other.example/tenant")),
        scopes=Scope("data:read", "data:write"),
        name="Data",
        documentation="https://api.example/docs",
    )
    assert metadata_document(resource) == golden("metadata-full.json")
    assert resource.metadata_url == "https://api.example/.well-known/oauth-protected-resource/v1"


def test_the_smallest_document() -> None:
    """Members without a value are left out, not empty (RFC 9728 section 3.2)."""
    assert metadata_document(ProtectedResource("https://api.example", (LOGIN,))) == golden("metadata-smallest.json")


async def test_it_is_public_and_cacheable(api: Api) -> None:
    """200 without a token, JSON, readable for any origin, cacheable; the challenge points here."""
    reply = await api.get("/.well-known/oauth-protected-resource")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["Cache-Control"] == "public, max-age=300"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.json()["resource"] == "http://localhost:8002"
    challenge = (await api.get()).headers["WWW-Authenticate"]
    assert 'resource_metadata="http://localhost:8002/.well-known/oauth-protected-resource"' in challenge


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("https://api.example", "/.well-known/oauth-protected-resource"),
        ("https://api.example/", "/.well-known/oauth-protected-resource"),
        ("https://api.example/v1/data", "/.well-known/oauth-protected-resource/v1/data"),
    ],
)
async def test_it_lies_where_the_identifier_says(
    issuer: Issuer, clock: FrozenClock, identifier: str, path: str
) -> None:
    """The well-known part comes before the path of the identifier, and only there (RFC 9728 section 3.1)."""
    async with running_api(resource_of(issuer, identifier=identifier), clock) as api:
        reply = await api.get(path)
        assert reply.status == 200
        assert reply.json()["resource"] == identifier
        other = "/.well-known/oauth-protected-resource" if path.endswith("data") else f"{path}/v1"
        assert (await api.get(other)).status == 404


async def test_the_host_of_a_request_changes_nothing(api: Api) -> None:
    """Every address is the configured one, whatever Host or X-Forwarded-Host say."""
    headers = {"Host": "evil.example", "X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example"}
    for path in ("/.well-known/oauth-protected-resource", "/whoami"):
        reply = await api.get(path, **headers)
        assert "evil.example" not in str(reply.headers) + reply.body.decode()
