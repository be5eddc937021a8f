"""The schemas that more than one endpoint's description uses."""

from __future__ import annotations

from typing import Any

KEY_SET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["keys"],
    "properties": {
        "keys": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kty", "n", "e", "kid", "alg", "use"],
                "properties": {
                    "kty": {"const": "RSA"},
                    "n": {"type": "string"},
                    "e": {"type": "string"},
                    "kid": {"type": "string", "description": "RFC 7638 thumbprint."},
                    "alg": {"const": "RS256"},
                    "use": {"const": "sig"},
                },
                "additionalProperties": False,
            },
        }
    },
}
