"""The description of the interface is whole, and the service keeps to it."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from resource_service.app import open_resource_service
from resource_service.settings import ResourceSettings
from shared.openapi import OPERATION
from tests.clock import FrozenClock
from tests.resource_service.running import RunningResourceService

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


async def test_every_mounted_route_is_described(tmp_path: Any) -> None:
    """A route without a description would be missing from the document and nobody would notice."""
    given = ResourceSettings.load({"RESOURCE_DATABASE_URL": f"sqlite:///{tmp_path}/r.sqlite3"})
    async with open_resource_service(given, FrozenClock()) as service:
        undescribed = [str(route) for route in service.app.router.routes() if not hasattr(route.handler, OPERATION)]
    assert undescribed == []


async def test_the_document_names_every_operation_with_its_scopes(service: RunningResourceService) -> None:
    """What needs a token says which scope; what is public asks for none."""
    document = await (await service.get("/openapi.json")).json()
    found = {
        (method, path): operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    read, write = [{"bearer": ["data:read"]}], [{"bearer": ["data:write"]}]
    assert found == {
        ("get", "/userData"): read,
        ("get", "/userData/{name}"): read,
        ("put", "/userData/{name}"): write,
        ("delete", "/userData/{name}"): write,
        ("get", "/verify"): [{"bearer": []}],
        ("get", "/.well-known/oauth-protected-resource"): None,
        ("get", "/openapi.json"): None,
        ("get", "/livez"): None,
        ("get", "/readyz"): None,
    }
    assert document["servers"] == [{"url": "https://api.example"}]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("token", ["good", "bad", "none"])
async def test_every_documented_request_is_answered_as_documented(service: RunningResourceService, token: str) -> None:
    """Requests made from the document, good and bad, get an answer that the document describes."""
    document = await (await service.get("/openapi.json")).json()
    ann = service.caller("ann")
    await ann.put("/userData/a", b'{"x": [1, null]}')
    headers = {"good": {"Authorization": f"Bearer {ann.token}"}, "bad": {"Authorization": "Bearer x.y.z"}, "none": {}}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{service.port}")

    def send_all() -> int:
        sent = 0
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=15,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def send(case: Any) -> None:
                nonlocal sent
                response = case.call(headers=headers[token])
                case.validate_response(response, checks=CHECKS)
                sent += 1

            send()
        return sent

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert await asyncio.to_thread(send_all) >= 8
