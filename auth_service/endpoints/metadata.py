"""The two well-known metadata documents (RFC 8414, OpenID Connect Discovery 1.0).

Both say the same, and only what is true: an endpoint is listed when its route is really mounted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from auth_service.model.status_list import LISTS_PATH
from auth_service.oauth.resources import Resources
from shared.cors import open_to_all_origins
from shared.openapi import Answer, Operation, describe

OAUTH_PATH = "/.well-known/oauth-authorization-server"
OPENID_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/.well-known/jwks.json"
ENDPOINTS = {
    "token_endpoint": "/token",
    "revocation_endpoint": "/revoke",
    # Not registered (RFC 8414 section 2 lets unknown members be): where the revocation feed lies.
    "revocations_uri": "/revocations",
    "status_list_aggregation_endpoint": LISTS_PATH,
}
CLAIMS = (
    *("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "sid", "auth_time", "acr", "amr"),
    *("preferred_username", "name", "email", "email_verified"),
)
_DESCRIPTION = Operation(
    summary="What this authorization server is and where its endpoints are.",
    answers={200: Answer("The metadata.", {"type": "object", "required": ["issuer", "jwks_uri"]})},
)


class MetadataEndpoint:
    """Serves one document, built from the routes of the app it stands in, at both well-known places."""

    def __init__(self, issuer: str, resources: Resources, grant_types: tuple[str, ...]) -> None:
        self._issuer = issuer
        self._resources = resources
        self._grant_types = grant_types
        self._body: bytes | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        paths = [OAUTH_PATH, OPENID_PATH]
        issuer_path = urlsplit(self._issuer).path
        if issuer_path:
            # RFC 8414 section 3.1 puts the issuer's path behind the well-known part.
            paths.append(OAUTH_PATH + issuer_path)
        return [web.get(path, self.get) for path in paths]

    @open_to_all_origins
    @describe(_DESCRIPTION)
    async def get(self, request: web.Request) -> web.Response:
        if self._body is None:
            self._body = json.dumps(self._document(request.app), separators=(",", ":")).encode()
        headers = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
        return web.Response(body=self._body, headers=headers, content_type="application/json")

    def _document(self, app: web.Application) -> dict[str, object]:
        mounted = {resource.canonical for resource in app.router.resources()}
        endpoints = {name: self._issuer + path for name, path in ENDPOINTS.items() if path in mounted}
        document: dict[str, object] = {
            "issuer": self._issuer,
            "jwks_uri": self._issuer + JWKS_PATH,
            **endpoints,
            "scopes_supported": self._resources.scopes_supported(),
            # None, for there is no authorization endpoint. RFC 8414 requires the member (section 2) and has empty ones
            # left out (section 3.2); typed clients (MCP's SDK, Rust's) take an empty list and not its absence.
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": (*CLAIMS, "status") if LISTS_PATH in mounted else CLAIMS,
            "protected_resources": [resource.identifier for resource in self._resources],
        }
        if "token_endpoint" in endpoints:
            document["grant_types_supported"] = list(self._grant_types)
            document["token_endpoint_auth_methods_supported"] = ["none"]
        if "revocation_endpoint" in endpoints:
            # Left out it would mean client_secret_basic (RFC 8414 section 2).
            document["revocation_endpoint_auth_methods_supported"] = ["none"]
        return document
