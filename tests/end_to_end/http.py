"""A client as plain as can be: one request, one connection, one answer."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20.0


class NoAnswer(Exception):
    """The connection was refused or broke before an answer was complete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def call(method: str, url: str, *, content: object = None, token: str | None = None) -> Answer:
    """Send `content` as JSON, with the access token if there is one; raise NoAnswer when nothing came back."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = None
    if content is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(content).encode()
    try:
        connection.request(method, parts.path or "/", body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{method} {url}: {error!r}") from error
    finally:
        connection.close()
