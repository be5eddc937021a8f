"""OpenAPI 3.1 documents made from the handlers themselves.

A handler carries an `Operation` (put there by `@describe`); the document is built from the routes that are really
mounted, so it cannot list what is not there. Bodies are msgspec structs, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from shared.cors import open_to_all_origins
from shared.errors import ServiceError

H = TypeVar("H", bound=Callable[..., Any])

OPERATION = "__openapi_operation__"
ERROR_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {
        "error": {"type": "string", "description": "A code for programs."},
        "error_description": {"type": "string", "description": "A sentence for people."},
    },
}
_SCHEMAS = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One kind of answer: what it means, its body (a model, a JSON Schema, or none) and its own headers."""

    description: str
    body: type[msgspec.Struct] | Mapping[str, Any] | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header name to what it says."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a handler takes and answers."""

    summary: str
    answers: Mapping[int, Answer]
    errors: tuple[type[ServiceError], ...] = ()
    body: type[msgspec.Struct] | Mapping[str, Any] | None = None
    body_media_type: str = "application/json"
    body_required: bool = True
    scopes: tuple[str, ...] | None = None
    """The scopes the bearer token must carry; None where no token is looked at."""
    token_required: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers it reads: name to what they do."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Schemas of the path parameters, and of query parameters as `?name`."""


def describe(operation: Operation) -> Callable[[H], H]:
    """Attach `operation` to a handler."""

    def attach(handler: H) -> H:
        setattr(handler, OPERATION, operation)
        return handler

    return attach


class OpenApiDocument:
    """`GET /openapi.json`: the interface of the app it is mounted in, built once on the first request."""

    def __init__(self, *, title: str, version: str, server: str) -> None:
        self._title = title
        self._version = version
        self._server = server
        self._body: bytes | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get("/openapi.json", self.get)]

    @open_to_all_origins
    @describe(
        Operation(summary="This document.", answers={200: Answer("An OpenAPI 3.1 document.", {"type": "object"})})
    )
    async def get(self, request: web.Request) -> web.Response:
        if self._body is None:
            self._body = json.dumps(self.build(request.app), separators=(",", ":")).encode()
        return web.Response(
            body=self._body,
            content_type="application/json",
            headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"},
        )

    def build(self, app: web.Application) -> dict[str, Any]:
        """The document for `app` as an object."""
        schemas: dict[str, Any] = {"Error": ERROR_SCHEMA}
        paths: dict[str, dict[str, Any]] = {}
        for route in app.router.routes():
            operation: Operation | None = getattr(route.handler, OPERATION, None)
            if operation is None or route.method == "HEAD" or route.resource is None:
                continue
            path = route.resource.canonical
            name = "_".join([route.method.lower(), *re.findall(r"\w+", path)])
            rendered = _operation(operation, schemas) | {"operationId": name}
            paths.setdefault(path, {})[route.method.lower()] = rendered
        return {
            "openapi": "3.1.0",
            "info": {"title": self._title, "version": self._version},
            "servers": [{"url": self._server}],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt"}},
            },
        }


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    responses = {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()}
    for status, code in dict.fromkeys((error.status, error.code) for error in operation.errors):
        known = responses.setdefault(str(status), _error())
        # Where the same status is answered with a page, too.
        known.setdefault("content", {}).setdefault("application/json", _error()["content"]["application/json"])
        known["description"] = ", ".join(filter(None, [known["description"], f"`{code}`"]))
    rendered: dict[str, Any] = {
        "summary": operation.summary,
        "responses": responses,
        "parameters": _parameters(operation),
    }
    if operation.body is not None:
        content = {operation.body_media_type: {"schema": _schema(operation.body, schemas)}}
        rendered["requestBody"] = {"required": operation.body_required, "content": content}
    if operation.scopes is not None:
        rendered["security"] = [{"bearer": list(operation.scopes)}, *([] if operation.token_required else [{}])]
    return rendered


def _answer(answer: Answer, schemas: dict[str, Any]) -> dict[str, Any]:
    rendered: dict[str, Any] = {"description": answer.description}
    if answer.body is not None:
        rendered["content"] = {answer.media_type: {"schema": _schema(answer.body, schemas)}}
    if answer.headers:
        rendered["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    return rendered


def _error() -> dict[str, Any]:
    schema = {"$ref": _SCHEMAS.format(model="Error")}
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    rendered: list[dict[str, Any]] = []
    for name, schema in operation.parameters.items():
        where = "query" if name.startswith("?") else "path"
        rendered.append({"name": name.lstrip("?"), "in": where, "required": where == "path", "schema": dict(schema)})
    for name, text in operation.headers.items():
        rendered.append(
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": text,
                "schema": {"type": "string"},
            }
        )
    return rendered


def _schema(body: type[msgspec.Struct] | Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(body, type):
        return dict(body)
    (reference,), components = msgspec.json.schema_components([body], ref_template=_SCHEMAS.format(model="{name}"))
    schemas.update(components)
    return reference
