"""Descriptions of the interface are made from what is mounted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from pytest_aiohttp import AiohttpClient

from shared.errors import Conflict, InvalidRequest, NotFound, Unavailable
from shared.openapi import Answer, OpenApiDocument, Operation, describe


class Inner(msgspec.Struct):
    """A part of a body."""

    size: int


class Body(msgspec.Struct):
    """A body with a part."""

    name: str
    inner: Inner | None = None


class InvalidName(InvalidRequest):
    """A second refusal with the same code."""


class Items:
    """Operations with everything an operation can have."""

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/items/{name:[^/]+}", self.get),
            web.put("/items/{name:[^/]+}", self.put),
            web.get("/undescribed", self.undescribed),
        ]

    @describe(
        Operation(
            summary="Read.",
            answers={200: Answer("The item.", Body, headers={"ETag": "Its tag."}), 304: Answer("Unchanged.")},
            errors=(NotFound, InvalidRequest, InvalidName, Conflict, Unavailable),
            scopes=("data:read",),
            parameters={"name": {"type": "string"}, "?fields": {"type": "string"}},
            headers={"If-None-Match": "Entity tags."},
        )
    )
    async def get(self, _request: web.Request) -> web.Response:
        return web.Response()

    @describe(
        Operation(
            summary="Write.",
            answers={204: Answer("Done.")},
            body=Body,
            scopes=("data:write",),
            token_required=False,
            parameters={"name": {"type": "string"}},
        )
    )
    async def put(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def undescribed(self, _request: web.Request) -> web.Response:
        return web.Response()


@pytest.fixture
def app() -> web.Application:
    """An app with the document of itself."""
    app = web.Application()
    app.add_routes(Items().routes())
    app.add_routes(OpenApiDocument(title="Sample", version="1", server="https://api.example").routes())
    return app


@pytest.fixture
async def document(app: web.Application, aiohttp_client: AiohttpClient) -> Any:
    """The document as it is served."""
    client = await aiohttp_client(app)
    response = await client.get("/openapi.json")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    return await response.json()


async def test_it_lists_what_is_mounted_and_described(document: Any) -> None:
    """Paths are the routes' own, without the patterns inside them; HEAD goes without saying."""
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/items/{name}": {"get", "put"},
        "/openapi.json": {"get"},
    }
    assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": "https://api.example"}])
    assert document["info"] == {"title": "Sample", "version": "1"}


async def test_an_operation_says_what_it_takes(document: Any) -> None:
    """Path, query and header parameters, the body, and the scopes."""
    get, put = document["paths"]["/items/{name}"]["get"], document["paths"]["/items/{name}"]["put"]
    assert [(each["in"], each["name"], each["required"]) for each in get["parameters"]] == [
        ("path", "name", True),
        ("query", "fields", False),
        ("header", "If-None-Match", False),
    ]
    assert get["security"] == [{"bearer": ["data:read"]}]
    assert put["security"] == [{"bearer": ["data:write"]}, {}]
    assert put["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}},
    }


async def test_an_operation_says_what_it_answers(document: Any) -> None:
    """Answers with their headers, and every refusal once by its code, those of one status together."""
    responses = document["paths"]["/items/{name}"]["get"]["responses"]
    assert {status: answer["description"] for status, answer in responses.items()} == {
        "200": "The item.",
        "304": "Unchanged.",
        "400": "`invalid_request`",
        "404": "`not_found`",
        "409": "`conflict`",
        "503": "`temporarily_unavailable`",
    }
    assert responses["200"]["headers"]["ETag"]["description"] == "Its tag."
    assert "content" not in responses["304"]
    for status in ("400", "404", "409", "503"):
        schema = responses[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Error"}


async def test_every_name_and_reference_resolves_and_is_unique(document: Any) -> None:
    """Operation ids are plain words, each once; every schema is valid and every reference leads somewhere."""
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert sorted(ids) == ["get_items_name", "get_openapi_json", "put_items_name"]
    schemas = document["components"]["schemas"]
    assert set(schemas) == {"Error", "Body", "Inner"}
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = set(_references(document))
    assert references == {f"#/components/schemas/{name}" for name in schemas}


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
