"""Finding an issuer's key set and revocation feed through its metadata.

RFC 8414 section 3, OpenID Connect Discovery section 4; `revocations_uri` is ours (`docs/revocation.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

import structlog

from resource_service.protection.bounded_fetch import JSON_TYPE, BoundedFetch, FetchFailed, FetchFault
from resource_service.protection.configuration import check_key_url
from shared.strict_json import strict_json_loads

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_TOLD_CHARACTERS: Final = 256
"""Of what a stranger says it is, in a log line."""


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may lie, in the order they are asked.

    RFC 8414 puts the well-known part before the issuer's path, OpenID Connect behind it.
    """
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.removesuffix("/")
    return (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )


async def discover_key_url(fetch: BoundedFetch, issuer: str, plain_http_hosts: tuple[str, ...]) -> str:
    """The `jwks_uri` of `issuer`; FetchFailed when no metadata names one, or it speaks for somebody else."""
    return await _discover(fetch, issuer, lambda body: _read_key_url(body, issuer, plain_http_hosts))


async def discover_feed_url(fetch: BoundedFetch, issuer: str, plain_http_hosts: tuple[str, ...]) -> str | None:
    """The `revocations_uri` of `issuer`, None when its metadata names none; FetchFailed as above."""
    return await _discover(fetch, issuer, lambda body: _read_feed_url(body, issuer, plain_http_hosts))


async def _discover(fetch: BoundedFetch, issuer: str, read: Callable[[bytes], T]) -> T:
    """What `read` finds in the first metadata document that is good."""
    failure: FetchFailed | None = None
    for url in metadata_urls(issuer):
        try:
            document = await fetch.get(url, accept=(JSON_TYPE,))
            return read(document.body or b"")
        except FetchFailed as error:
            # A document that is there and wrong says more than one that is not there.
            if failure is None or failure.fault is FetchFault.STATUS:
                failure = error
    raise failure or FetchFailed(FetchFault.METADATA)


def _read_key_url(body: bytes, issuer: str, plain_http_hosts: tuple[str, ...]) -> str:
    return _read_url(_read_metadata(body, issuer).get("jwks_uri"), issuer, plain_http_hosts)


def _read_feed_url(body: bytes, issuer: str, plain_http_hosts: tuple[str, ...]) -> str | None:
    url = _read_metadata(body, issuer).get("revocations_uri")
    return None if url is None else _read_url(url, issuer, plain_http_hosts)


def _read_metadata(body: bytes, issuer: str) -> Mapping[str, object]:
    try:
        metadata = strict_json_loads(body)
    except ValueError:
        raise FetchFailed(FetchFault.METADATA) from None
    if not isinstance(metadata, dict):
        raise FetchFailed(FetchFault.METADATA)
    found = metadata.get("issuer")
    if found != issuer:
        # Nearly always one address in two spellings, such as localhost and 127.0.0.1; it has to be seen to be mended.
        log.warning("metadata_of_another_issuer", configured=issuer, found=str(found)[:MAX_TOLD_CHARACTERS])
        raise FetchFailed(FetchFault.ISSUER_MISMATCH)
    return metadata


def _read_url(url: object, issuer: str, plain_http_hosts: tuple[str, ...]) -> str:
    if not isinstance(url, str):
        raise FetchFailed(FetchFault.METADATA)
    try:
        check_key_url(url, plain_http_hosts)
    except ValueError:
        raise FetchFailed(FetchFault.METADATA) from None
    if issuer.startswith("https:") and not url.startswith("https:"):
        raise FetchFailed(FetchFault.METADATA)  # nobody steps down from TLS
    return url
