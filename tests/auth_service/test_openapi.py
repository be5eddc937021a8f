"""The description of the interface is whole and valid, and the service keeps to it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.definitions import OPENAPI_31

from auth_service.app import open_auth_service
from auth_service.settings import AuthSettings
from shared.openapi import OPERATION
from tests.auth_service.endpoints.state import make_link
from tests.auth_service.running import ISSUER, NEW_PASSWORD, PASSWORD, AuthClient, Tokens
from tests.clock import FrozenClock

NEVER_SEEN_HERE = {"503", "429"}
"""What only a fault or a flood brings about; `test_health` and the tests of throttling show those."""


@pytest.fixture
def auth_settings(auth_environment: dict[str, str]) -> AuthSettings:
    """With everything on that has routes."""
    return AuthSettings.load({**auth_environment, "AUTH_STATUS_LIST": "true"})


async def test_every_mounted_route_is_described(auth_settings: AuthSettings, clock: FrozenClock) -> None:
    """A route without a description would be missing from the document and nobody would notice; preflights are between
    browsers and us."""
    async with open_auth_service(auth_settings, clock) as service:
        routes = [route for route in service.app.router.routes() if route.method != "OPTIONS"]
        undescribed = [str(route) for route in routes if not hasattr(route.handler, OPERATION)]
    assert undescribed == []


async def test_the_document_is_valid_openapi(auth: AuthClient) -> None:
    """By the metaschema of OpenAPI 3.1, and each schema in it by that of JSON Schema 2020-12."""
    reply = await auth.get("/openapi.json")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "public, max-age=300"
    document = reply.json()
    assert document["openapi"].startswith("3.1.")
    assert document["servers"] == [{"url": ISSUER}]
    jsonschema.validate(document, OPENAPI_31)
    for schema in schemas_in(document):
        Draft202012Validator.check_schema(schema)


async def test_what_needs_a_token_says_so(auth: AuthClient) -> None:
    """The account's own routes ask for a bearer token, `/logout` takes one, nothing else names any."""
    document = (await auth.get("/openapi.json")).json()
    security = {
        f"{method.upper()} {path}": operation["security"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "security" in operation
    }
    bearer: dict[str, list[str]] = {"bearer": []}
    required, taken = [bearer], [bearer, {}]
    assert security == {
        "POST /password": required,
        "GET /sessions": required,
        "DELETE /sessions/{sid}": required,
        "POST /logout": taken,
    }


async def test_names_of_operations_and_of_members_are_their_own(auth: AuthClient) -> None:
    """A generated client needs an id for each operation, and every member of a body to be typed."""
    document = (await auth.get("/openapi.json")).json()
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["summary"]
        for answer in operation["responses"].values():
            assert answer["description"]
    for schema in document["components"]["schemas"].values():
        assert schema.get("properties") is not None


def schemas_in(value: object) -> Iterator[dict[str, Any]]:
    """Every JSON Schema that the document holds."""
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            yield value["schema"]
        if isinstance(value.get("schemas"), dict):
            yield from value["schemas"].values()
        for item in value.values():
            yield from schemas_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from schemas_in(item)


class Interface:
    """The document as schemathesis reads it, beside the service that it describes.

    `seen` collects, for each operation, the statuses that it answered with.
    """

    def __init__(self, document: dict[str, Any], auth: AuthClient) -> None:
        self.schema = schemathesis.openapi.from_dict(document)
        self.schema.config.update(base_url=f"http://127.0.0.1:{auth.port}")
        self.seen: dict[str, set[str]] = {}
        self.operations = {}
        for result in self.schema.get_all_operations():
            assert isinstance(result, Ok)
            self.operations[result.ok().label] = result.ok()

    def documented(self, label: str) -> set[str]:
        return set(self.operations[label].definition.raw["responses"])

    def send(self, case: Case[Any], token: str | None = None) -> Response:
        """Send `case`, and check the answer by everything that the document says about it."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        response = case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])
        self.seen.setdefault(case.operation.label, set()).add(str(response.status_code))
        return response


@pytest.fixture
async def interface(auth: AuthClient) -> Interface:
    return Interface((await auth.get("/openapi.json")).json(), auth)


def in_thread(work: Callable[[], None]) -> Any:
    """Run `work`, whose client blocks, beside the loop that the service runs on."""

    def quietly() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()

    return asyncio.to_thread(quietly)


class Walker:
    """Somebody who knows how to make every operation answer with every status it is described with."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface

    def ask(self, label: str, body: Any = None, token: str | None = None, **parts: Any) -> Response:
        """One operation with this body: JSON, or a form where the operation takes one."""
        operation = self.interface.operations[label]
        if body is not None:
            media_type = "application/x-www-form-urlencoded" if label in FORMS else "application/json"
            parts = {"body": body, "media_type": media_type, **parts}
        return self.interface.send(operation.Case(**parts), token)

    def sign_in(self, **members: str) -> Tokens:
        return Tokens.of_members(self.ask("POST /login", {**ALICE, **members}).json())

    def ask_badly(self, label: str, token: str | None = None) -> None:
        """A body of another type, and one that is too large."""
        for content_type, size, status in (("text/plain", 1, 415), ("", 40_000, 413)):
            headers = {"Content-Type": content_type} if content_type else {}
            body = {"username": "x" * size}
            assert self.ask(label, body, token, headers=headers).status_code == status

    def accounts(self) -> None:
        ask = self.ask
        assert ask("POST /register", {**ALICE, "email": "alice@example.org"}).status_code == 201
        assert ask("POST /register", ALICE).status_code == 409
        assert ask("POST /register", {**ALICE, "password": "short"}).status_code == 400
        assert ask("POST /login", {**ALICE, "scope": "admin"}).status_code == 400
        assert ask("POST /login", {**ALICE, "password": NEW_PASSWORD}).status_code == 401
        token = self.sign_in().access_token
        change = {"current_password": PASSWORD, "new_password": PASSWORD}
        assert ask("POST /password", change).status_code == 401
        assert ask("POST /password", {**change, "new_password": "short"}, token).status_code == 400
        assert ask("POST /password", change, token).status_code == 204
        for label in ("POST /register", "POST /login"):
            self.ask_badly(label)
        self.ask_badly("POST /password", token)

    def pages(self, link: str) -> None:
        ask = self.ask
        form = {"token": link, "new_password": PASSWORD, "repeated_password": PASSWORD}
        assert ask("GET /set-password", query={"token": link}).status_code == 200
        assert ask("GET /set-password", query={"token": "x"}).status_code == 404
        assert ask("POST /set-password", {**form, "new_password": "short"}).status_code == 400
        assert ask("POST /set-password", form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert ask("POST /set-password", form).status_code == 303
        assert ask("POST /set-password", form).status_code == 404
        self.ask_badly("POST /set-password")

    def tokens(self) -> None:
        ask = self.ask
        form = {"grant_type": "refresh_token", "refresh_token": self.sign_in().refresh_token}
        assert ask("POST /token", {**form, "client_id": "other"}).status_code == 401
        assert ask("POST /token", {**form, "scope": "admin"}).status_code == 400
        assert ask("POST /token", form).status_code == 200
        assert ask("POST /revoke", {**form, "token": ""}).status_code == 400
        assert ask("POST /revoke", {"token": "x", "client_id": "other"}).status_code == 401
        assert ask("POST /revoke", {"token": form["refresh_token"]}).status_code == 200
        for label in ("POST /token", "POST /revoke"):
            self.ask_badly(label)

    def sessions(self) -> None:
        ask = self.ask
        tokens, other = self.sign_in(), self.sign_in()
        sid: dict[str, Any] = {"path_parameters": {"sid": other.sid}}
        twice = {"Authorization": "Bearer a b"}
        assert ask("GET /sessions").status_code == 401
        assert ask("GET /sessions", headers=twice).status_code == 400
        assert ask("GET /sessions", token=tokens.access_token).status_code == 200
        assert ask("DELETE /sessions/{sid}", **sid).status_code == 401
        assert ask("DELETE /sessions/{sid}", headers=twice, **sid).status_code == 400
        assert ask("DELETE /sessions/{sid}", token=tokens.access_token, **sid).status_code == 204
        assert ask("DELETE /sessions/{sid}", token=tokens.access_token, **sid).status_code == 404
        assert ask("POST /logout").status_code == 400
        assert ask("POST /logout", token="x.y.z").status_code == 401
        assert ask("POST /logout", {"refresh_token": other.refresh_token}).status_code == 204
        assert ask("POST /logout", token=tokens.access_token).status_code == 204
        self.ask_badly("POST /logout")

    def documents(self) -> None:
        for label in self.interface.operations:
            if label.startswith("GET /") and label not in ("GET /sessions", "GET /set-password", STATUS_LIST):
                assert self.ask(label).status_code == 200
        first: dict[str, Any] = {"path_parameters": {"number": "0"}}
        for label, parts in ((JWKS, {}), (REVOCATIONS, {}), (STATUS_LIST, first)):
            document = self.ask(label, **parts)
            assert document.status_code == 200
            etag = document.headers["etag"][0]
            assert self.ask(label, headers={"If-None-Match": etag}, **parts).status_code == 304
        assert self.ask(STATUS_LIST, path_parameters={"number": "1"}).status_code == 404
        assert self.ask(REVOCATIONS, query={"after": "x"}).status_code == 400


ALICE = {"username": "alice", "password": PASSWORD}
JWKS = "GET /.well-known/jwks.json"
REVOCATIONS = "GET /revocations"
STATUS_LIST = "GET /statuslists/{number}"
FORMS = {"POST /token", "POST /revoke", "POST /set-password"}
SEEN_ELSEWHERE = {"POST /register": {"403"}}
"""Needs another setting; `test_register` shows it."""


async def test_every_documented_answer_is_given_and_is_as_described(
    interface: Interface, auth_settings: AuthSettings
) -> None:
    """Each operation, each status in its description: asked for, seen, and in accordance with its schema."""
    walker = Walker(interface)
    link = await make_link(auth_settings, "invited")

    def walk() -> None:
        walker.pages(link)
        walker.accounts()
        walker.tokens()
        walker.sessions()
        walker.documents()

    await in_thread(walk)
    for label in interface.operations:
        expected = interface.documented(label) - NEVER_SEEN_HERE - SEEN_ELSEWHERE.get(label, set())
        assert interface.seen[label] >= expected, label


@pytest.mark.parametrize("examples", [8, pytest.param(40, marks=pytest.mark.slow)])
async def test_requests_made_from_the_description_are_answered_by_it(interface: Interface, examples: int) -> None:
    """Good and bad requests drawn from the document: no 5xx, no undocumented status, and every body by its schema."""
    walker = Walker(interface)

    def draw_all() -> None:
        walker.ask("POST /register", ALICE)
        for label in interface.operations:
            draw_from(walker, label, examples)

    await in_thread(draw_all)
    assert interface.seen.keys() == interface.operations.keys()


def draw_from(walker: Walker, label: str, examples: int) -> None:
    """Send so many requests of one operation; with a token of a session of its own where it takes one."""
    operation = walker.interface.operations[label]
    strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body or operation.path_parameters:
        strategy |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @given(case=strategy)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def draw(case: Case[Any]) -> None:
        secured = bool(operation.definition.raw.get("security"))
        # The feed is held as long as it is asked to; its own tests wait.
        case.query.pop("wait", None)
        # With a token /logout does not look at its body.
        if label == "POST /logout" and case.body is not NOT_SET:
            secured = False
        walker.interface.send(case, walker.sign_in().access_token if secured else None)

    draw()
