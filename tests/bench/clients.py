"""The few calls that prepare a measurement: an account, a session, an item."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

PASSWORD = "a long bench password"


def call(method: str, url: str, body: object = None, token: str | None = None) -> Any:
    """Send JSON, get JSON (None for an empty answer)."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def sign_up(auth_url: str, username: str) -> str:
    """Create an account and sign in; return the access token."""
    call("POST", f"{auth_url}/register", {"username": username, "password": PASSWORD})
    return sign_in(auth_url, username)


def sign_in(auth_url: str, username: str) -> str:
    """Sign in; return the access token."""
    tokens = call("POST", f"{auth_url}/login", {"username": username, "password": PASSWORD})
    token: str = tokens["access_token"]
    return token
