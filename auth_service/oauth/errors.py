"""The registered error codes of the token endpoint, one class each (RFC 6749 section 5.2, RFC 8707 section 2)."""

from __future__ import annotations

from shared.errors import ServiceError


class InvalidGrant(ServiceError):
    """The grant or refresh token is unknown, spent, expired, or another client's."""

    status = 400
    code = "invalid_grant"


class InvalidClient(ServiceError):
    """The client is unknown or did not prove who it is."""

    status = 401
    code = "invalid_client"

    def __init__(self, description: str) -> None:
        # Every 401 names a scheme (RFC 9110 section 15.5.2); for clients it is Basic (RFC 6749 section 2.3.1).
        super().__init__(description, headers={"WWW-Authenticate": 'Basic realm="token"'})


class UnsupportedGrantType(ServiceError):
    """There is no such grant here."""

    status = 400
    code = "unsupported_grant_type"


class InvalidScope(ServiceError):
    """The scope is malformed, or nothing of it can be granted."""

    status = 400
    code = "invalid_scope"


class InvalidTarget(ServiceError):
    """The resource is unknown here, or more than one was asked for (RFC 8707 section 2)."""

    status = 400
    code = "invalid_target"
