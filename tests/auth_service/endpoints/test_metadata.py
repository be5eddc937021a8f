"""`GET /.well-known/oauth-authorization-server` and `/.well-known/openid-configuration` over HTTP."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from auth_service.settings import AuthSettings
from tests.auth_service.running import ISSUER, RESOURCE, AuthClient, assert_refused, running_auth
from tests.clock import FrozenClock

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


@pytest.mark.parametrize("path", [OAUTH, OPENID])
async def test_the_document_says_what_is_there(auth: AuthClient, path: str) -> None:
    """RFC 8414 section 2, whole: nothing is listed that is not built."""
    reply = await auth.get(path)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "public, max-age=300"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    document = reply.json()
    assert set(document.pop("claims_supported")) >= {"sub", "iss", "email", "preferred_username"}
    assert document == {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
        "token_endpoint": f"{ISSUER}/token",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "revocations_uri": f"{ISSUER}/revocations",
        "scopes_supported": ["data:read", "data:write", "email", "profile"],
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "protected_resources": [RESOURCE],
    }


async def test_a_list_that_is_required_is_there_though_it_is_empty(auth: AuthClient) -> None:
    """RFC 8414 sections 2 and 3.2 contradict each other; clients that read into types need the member."""
    document = (await auth.get(OAUTH)).json()
    assert "authorization_endpoint" not in document
    assert [name for name, value in document.items() if value == []] == ["response_types_supported"]


@pytest.mark.parametrize("path", [OAUTH, OPENID])
async def test_every_listed_address_is_mounted(auth: AuthClient, path: str) -> None:
    """Each URL in the document answers, with something other than 404."""
    document = (await auth.get(path)).json()
    listed = [name for name in document if name.endswith(("_endpoint", "_uri"))]
    assert {"token_endpoint", "jwks_uri"} <= set(listed)
    for name in listed:
        url = urlsplit(document[name])
        assert f"{url.scheme}://{url.netloc}" == ISSUER
        assert (await auth.get(url.path)).status in (200, 405)


async def test_both_documents_say_the_same(auth: AuthClient) -> None:
    """Whoever asks in either way is told the same, to the byte."""
    assert (await auth.get(OAUTH)).body == (await auth.get(OPENID)).body


@pytest.mark.parametrize("path", [OAUTH, OPENID, "/openapi.json"])
async def test_no_header_of_a_request_changes_a_url(
    auth_environment: dict[str, str], clock: FrozenClock, path: str
) -> None:
    """Hostile cases, CVE-2025-64101 and its kin: forged Host, X-Forwarded-*, Forwarded: every URL is the setting's."""
    forged = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Prefix": "/evil",
        "X-Original-URL": "/evil",
        "X-Rewrite-URL": "/evil",
        "Forwarded": "host=evil.example;proto=gopher",
        "X-Host": "evil.example",
    }
    settings = AuthSettings.load({**auth_environment, "AUTH_ISSUER": "https://id.example.org"})
    async with running_auth(settings, clock) as auth:
        first = await auth.get(path, headers=forged)
        second = await auth.get(path)
    assert first.body == second.body
    assert "evil" not in first.body.decode() + str(first.headers)
    assert "https://id.example.org" in first.body.decode()


async def test_an_issuer_with_a_path_is_found_where_rfc_8414_says(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """Behind the well-known part, and the document names the issuer with its path."""
    settings = AuthSettings.load({**auth_environment, "AUTH_ISSUER": "https://example.org/id"})
    async with running_auth(settings, clock) as auth:
        document = (await auth.get(f"{OAUTH}/id")).json()
        assert document["issuer"] == "https://example.org/id"
        assert document["token_endpoint"] == "https://example.org/id/token"
        assert document["jwks_uri"] == "https://example.org/id/.well-known/jwks.json"
        assert_refused(await auth.get(f"{OAUTH}/other"), 404, "not_found")


async def test_resources_and_scopes_are_those_of_the_settings(
    auth_environment: dict[str, str], clock: FrozenClock
) -> None:
    """RFC 9728 section 4: the resources that tokens may be asked for, and every scope of any of them."""
    resources = {"https://a.example": ["a:read"], "https://b.example": ["b:read", "b:write"]}
    settings = AuthSettings.load({**auth_environment, "AUTH_RESOURCES": json.dumps(resources)})
    async with running_auth(settings, clock) as auth:
        document = (await auth.get(OAUTH)).json()
    assert document["protected_resources"] == list(resources)
    assert document["scopes_supported"] == ["a:read", "b:read", "b:write", "email", "profile"]
