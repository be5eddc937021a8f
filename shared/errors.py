"""The base of every refusal that a caller is told about.

One class for each code; the status stands on the class. `shared.web` renders them all in one form:
`{"error": code, "error_description": description}` (RFC 6749 section 5.2). Callers branch on the class,
never on the text. Refusals that belong to one subject (credentials, tokens, keys) live beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """A refusal with a status, a code and a sentence.

    `description` is a fixed text of ours: never an exception's text and never a value that was sent. Its
    characters are those RFC 6749 section 5.2 allows: printable ASCII without `"` and `\\`.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, description: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(description)
        self.description = description
        self._headers: Mapping[str, str] = headers or {}

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields that the answer carries beside those of every refusal."""
        return self._headers


class InvalidRequest(ServiceError):
    """The request is malformed, or misses or repeats something (RFC 6749 section 5.2)."""

    status = 400
    code = "invalid_request"


class NotFound(ServiceError):
    """Nothing is here for this caller."""

    status = 404
    code = "not_found"


class Conflict(ServiceError):
    """What was asked for collides with what exists."""

    status = 409
    code = "conflict"


class PreconditionFailed(ServiceError):
    """`If-Match` or `If-None-Match` does not hold (RFC 9110 section 13)."""

    status = 412
    code = "precondition_failed"


class ContentTooLarge(ServiceError):
    """The body is larger than this resource takes (RFC 9110 section 15.5.14)."""

    status = 413
    code = "content_too_large"


class UnsupportedMediaType(ServiceError):
    """The body is not of the type this resource reads (RFC 9110 section 15.5.16)."""

    status = 415
    code = "unsupported_media_type"


class TooManyRequests(ServiceError):
    """A budget is spent; `retry_after` seconds say when it is worth coming back (RFC 6585 section 4)."""

    status = 429
    code = "too_many_requests"

    def __init__(self, description: str, *, retry_after: int) -> None:
        super().__init__(description, headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after


class Unavailable(ServiceError):
    """Something this service depends on failed; the request itself may be fine (RFC 9110 section 15.6.4)."""

    status = 503
    code = "temporarily_unavailable"

    def __init__(self, description: str, *, retry_after: int = 5) -> None:
        super().__init__(description, headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after
