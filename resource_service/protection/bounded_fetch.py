"""One GET of a small public JSON document, bounded in every direction.

No redirect is followed, no cookie kept, nothing decompressed, no proxy of the environment used. Whatever goes wrong
is a `FetchFailed` with a reason; the text of an exception of the network goes no further than its class.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs

CONNECT_SECONDS: Final = 2.0
TOTAL_SECONDS: Final = 5.0
MAX_BODY_BYTES: Final = 65_536
"""32 RSA keys of 8,192 bits with certificate chains would fit."""
MAX_CONNECTIONS: Final = 2
MAX_ETAG_LENGTH: Final = 256
DEFAULT_FRESH_SECONDS: Final = 300.0
MIN_FRESH_SECONDS: Final = 30.0
MAX_FRESH_SECONDS: Final = 900.0
"""Freshness is what the issuer says, between half a minute and a quarter of an hour."""

JSON_TYPE: Final = "application/json"
_max_age = re.compile(r'(?i)(?:^|,)\s*max-age\s*=\s*"?(\d{1,10})"?\s*(?:,|$)').search
_no_cache = re.compile(r"(?i)(?:^|,)\s*no-(?:cache|store)\b").search
_seconds = re.compile(r"\d{1,10}").fullmatch


class FetchFault(StrEnum):
    """What was wrong with a fetch."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    REDIRECT = "redirect"
    STATUS = "status"
    CONTENT_TYPE = "content_type"
    CONTENT_ENCODING = "content_encoding"
    TOO_LARGE = "too_large"
    NOT_A_KEY_SET = "not_a_key_set"
    METADATA = "metadata"
    ISSUER_MISMATCH = "issuer_mismatch"
    INTERNAL = "internal"


class FetchFailed(Exception):
    """A fetch that brought nothing to use."""

    def __init__(self, fault: FetchFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How long a fetch may take, seconds, and how much it may bring, bytes."""

    connect_seconds: float = CONNECT_SECONDS
    total_seconds: float = TOTAL_SECONDS
    max_bytes: int = MAX_BODY_BYTES


@dataclass(frozen=True, slots=True)
class Document:
    """What came back. `body` is None when the one with the given ETag still holds (RFC 9110 section 15.4.5)."""

    body: bytes | None
    etag: str | None
    fresh_seconds: float


class BoundedFetch:
    """Fetches from the servers of one issuer."""

    def __init__(self, session: ClientSession, limits: FetchLimits) -> None:
        self._session = session
        self._limits = limits

    @classmethod
    @asynccontextmanager
    async def open(cls, limits: FetchLimits) -> AsyncIterator[BoundedFetch]:
        """A fetcher with connections of its own, so that one issuer's slowness is not another's."""
        session = ClientSession(
            connector=TCPConnector(limit=MAX_CONNECTIONS),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=ClientTimeout(total=limits.total_seconds, sock_connect=limits.connect_seconds),
            headers={hdrs.ACCEPT_ENCODING: "identity", hdrs.USER_AGENT: "signet"},
        )
        async with session:
            yield cls(session, limits)

    async def get(
        self, url: str, *, accept: tuple[str, ...], etag: str | None = None, no_cache: bool = False
    ) -> Document:
        """The document at `url`, of one of the media types in `accept`; raise FetchFailed.

        `no_cache` asks caches on the way not to answer for the issuer (RFC 9111 section 5.2.1.4).
        """
        headers = {hdrs.ACCEPT: ", ".join(accept)}
        if etag is not None:
            headers[hdrs.IF_NONE_MATCH] = etag
        if no_cache:
            headers[hdrs.CACHE_CONTROL] = "no-cache"
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                try:
                    return await self._read(response, accept, conditional=etag is not None)
                except FetchFailed:
                    response.close()  # what is still to come is not wanted on a kept connection
                    raise
        except TimeoutError:
            raise FetchFailed(FetchFault.TIMEOUT) from None
        except (ClientError, OSError, ValueError) as error:
            raise FetchFailed(FetchFault.CONNECTION) from error

    async def _read(self, response: ClientResponse, accept: tuple[str, ...], *, conditional: bool) -> Document:
        etag, fresh_seconds = _read_etag(response.headers), _read_freshness(response.headers)
        if response.status == 304 and conditional:
            return Document(None, etag, fresh_seconds)
        if 300 <= response.status < 400:
            raise FetchFailed(FetchFault.REDIRECT)
        if response.status != 200:
            raise FetchFailed(FetchFault.STATUS)
        if response.content_type not in accept or hdrs.CONTENT_TYPE not in response.headers:
            raise FetchFailed(FetchFault.CONTENT_TYPE)
        if response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise FetchFailed(FetchFault.CONTENT_ENCODING)
        body = bytearray()
        if (response.content_length or 0) > self._limits.max_bytes:
            raise FetchFailed(FetchFault.TOO_LARGE)
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise FetchFailed(FetchFault.TOO_LARGE)
        return Document(bytes(body), etag, fresh_seconds)


def _read_etag(headers: Mapping[str, str]) -> str | None:
    etag = headers.get(hdrs.ETAG)
    return etag if etag and len(etag) <= MAX_ETAG_LENGTH and etag.isascii() and etag.isprintable() else None


def _read_freshness(headers: Mapping[str, str]) -> float:
    """Seconds until the document should be asked for again: `max-age` less `Age`, within our bounds (RFC 9111)."""
    cache_control = headers.get(hdrs.CACHE_CONTROL, "")
    if _no_cache(cache_control):
        return MIN_FRESH_SECONDS
    max_age = _max_age(cache_control)
    if max_age is None:
        return DEFAULT_FRESH_SECONDS
    age = headers.get(hdrs.AGE, "").strip()
    spent = int(age) if _seconds(age) else 0
    return min(max(float(int(max_age[1]) - spent), MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
