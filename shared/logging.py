"""JSON log lines, one object each, that never hold a secret.

Every logger of the process ends here, the libraries' too. A value under a name that carries secrets is masked,
and so is whatever looks like a token, wherever it stands.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections import Counter
from collections.abc import Hashable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from shared.clock import Clock, SystemClock

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that this task answers; it stands on every line logged meanwhile."""

PACE_SECONDS = 1.0
MASK = "[redacted]"
SECRET_NAMES = re.compile(
    r"(?i)(password|passphrase|secret|token|authorization|cookie|credential|assertion|private|master_key|dpop|api_?key)"
)
"""A member so named is masked. `token_id` and the like, which identify and do not authorize, are let through."""
HARMLESS_NAMES = frozenset({"token_id", "token_type", "master_key_id", "cached_tokens"})
# Each pattern can begin only where a word does or is bounded, so a hostile text costs no more than its length.
JWT_WORD = re.compile(r"(?<![A-Za-z0-9_.-])[A-Za-z0-9_.-]{16,}+")
CREDENTIALS_LIKE = re.compile(r"(?i)\b(bearer|jwt|basic|dpop)\s+[A-Za-z0-9._~+/=-]{8,}")
OPAQUE_TOKEN_LIKE = re.compile(r"\bsignet_[a-z]{1,16}_[A-Za-z0-9_-]{8,}")
URL_PASSWORD = re.compile(r"(://[^/\s:@]{0,256}:)[^\s@]{1,256}@")
NAMED_SECRET = re.compile(r"(?i)((?:password|secret|token|assertion|verifier)(?:=|[\"']\s?:\s?)[\"']?)[^\s\"'&,;}]+")


def configure_logging(service: str, *, level: str = "info", clock: Clock | None = None) -> None:
    """Send every log line of this process to standard error as JSON, marked with the `service` it is from."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        _Origin(service, clock or SystemClock()),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_LineWriterFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *shared,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.WARNING, getattr(logging, level.upper())), force=True)
    logging.captureWarnings(True)


class PacedLines:
    """One line a second of each kind, so that a flood of failures does not fill the disk."""

    def __init__(self) -> None:
        self._said_at: dict[Hashable, float] = {}
        self._left_out: Counter[Hashable] = Counter()

    def left_out(self, kind: Hashable, seconds: float) -> int | None:
        """How many of this kind were left out since the last line, which is to be said; None for one to leave out.

        `seconds` are any clock's that runs on; the kinds must be few.
        """
        said_at = self._said_at.get(kind)
        if said_at is not None and seconds - said_at < PACE_SECONDS:
            self._left_out[kind] += 1
            return None
        self._said_at[kind] = seconds
        return self._left_out.pop(kind, 0)


class _LineWriter(structlog.WriteLogger):
    def msg(self, message: str) -> None:
        # A full disk behind the log is no reason to refuse what the service is asked for.
        with contextlib.suppress(OSError):
            super().msg(message)

    debug = info = warning = error = critical = exception = msg


class _LineWriterFactory:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *_arguments: object) -> _LineWriter:
        return _LineWriter(self._stream)


class _Origin:
    """Stamps a line with the time, the service and the request."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = self._service
        event["time"] = round(self._clock.now(), 3)
        current = request_id.get()
        if current is not None:
            event["request_id"] = current
        return event


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets in one log event, to any depth (a structlog processor)."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if value is not None and name not in HARMLESS_NAMES and SECRET_NAMES.search(name):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {str(inner): _redacted(str(inner), item) for inner, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted("", item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return redact_text(repr(value))


def redact_text(text: str) -> str:
    """Mask what looks like a credential inside running text."""
    text = CREDENTIALS_LIKE.sub(rf"\1 {MASK}", text)
    text = JWT_WORD.sub(_without_jwt, text)
    text = OPAQUE_TOKEN_LIKE.sub(MASK, text)
    text = NAMED_SECRET.sub(rf"\1{MASK}", text)
    return URL_PASSWORD.sub(rf"\1{MASK}@", text)


def _without_jwt(word: re.Match[str]) -> str:
    before, header, rest = word[0].partition("eyJ")  # a JSON object's beginning in base64url
    return f"{before}{MASK}" if header and "." in rest else word[0]
