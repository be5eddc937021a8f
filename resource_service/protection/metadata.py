"""Protected resource metadata (RFC 9728): what a client without a token needs to know to get one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import hdrs, web

from resource_service.protection.access_rule import public
from resource_service.protection.configuration import ProtectedResource
from shared.cors import open_to_all_origins
from shared.openapi import Answer, Operation, describe
from shared.web import json_response

MAX_AGE_SECONDS = 300
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["resource", "authorization_servers", "bearer_methods_supported"],
    "properties": {
        "resource": {"type": "string", "format": "uri"},
        "authorization_servers": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "scopes_supported": {"type": "array", "items": {"type": "string"}},
        "bearer_methods_supported": {"type": "array", "items": {"const": "header"}},
        "resource_name": {"type": "string"},
        "resource_documentation": {"type": "string", "format": "uri"},
    },
}


def metadata_document(resource: ProtectedResource) -> dict[str, object]:
    """The document, members without a value left out (RFC 9728 section 3.2). It names only what is enforced."""
    members: dict[str, object] = {
        "resource": resource.identifier,
        "authorization_servers": [trusted.issuer for trusted in resource.issuers],
        "scopes_supported": list(resource.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": resource.name,
        "resource_documentation": resource.documentation,
    }
    return {name: value for name, value in members.items() if value}


class ResourceMetadata:
    """`GET /.well-known/oauth-protected-resource[/path]`, for any origin to read."""

    def __init__(self, resource: ProtectedResource) -> None:
        self._path = resource.metadata_path
        self._document = metadata_document(resource)

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(self._path, self.show)]

    @public
    @open_to_all_origins
    @describe(
        Operation(
            summary="What a client needs to know to get a token for this resource (RFC 9728).",
            answers={200: Answer("The metadata.", _SCHEMA, headers={"Cache-Control": "How long it may be kept."})},
        )
    )
    async def show(self, _request: web.Request) -> web.Response:
        return json_response(
            self._document,
            headers={
                hdrs.CACHE_CONTROL: f"public, max-age={MAX_AGE_SECONDS}",
                hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            },
        )
