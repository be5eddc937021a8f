"""Finding an issuer's key set through its metadata (RFC 8414 section 3, OpenID Connect Discovery section 4)."""

from __future__ import annotations

from urllib.parse import urlsplit

from resource_service.protection.bounded_fetch import JSON_TYPE, BoundedFetch, FetchFailed, FetchFault
from resource_service.protection.configuration import check_key_url
from shared.strict_json import strict_json_loads


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
    failure: FetchFailed | None = None
    for url in metadata_urls(issuer):
        try:
            document = await fetch.get(url, accept=(JSON_TYPE,))
            return _read_key_url(document.body or b"", issuer, plain_http_hosts)
        except FetchFailed as error:
            # A document that is there and wrong says more than one that is not there.
            if failure is None or failure.fault is FetchFault.STATUS:
                failure = error
    raise failure or FetchFailed(FetchFault.METADATA)


def _read_key_url(body: bytes, issuer: str, plain_http_hosts: tuple[str, ...]) -> str:
    try:
        metadata = strict_json_loads(body)
    except ValueError:
        raise FetchFailed(FetchFault.METADATA) from None
    if not isinstance(metadata, dict):
        raise FetchFailed(FetchFault.METADATA)
    if metadata.get("issuer") != issuer:
        raise FetchFailed(FetchFault.ISSUER_MISMATCH)
    url = metadata.get("jwks_uri")
    if not isinstance(url, str):
        raise FetchFailed(FetchFault.METADATA)
    try:
        check_key_url(url, plain_http_hosts)
    except ValueError:
        raise FetchFailed(FetchFault.METADATA) from None
    if issuer.startswith("https:") and not url.startswith("https:"):
        raise FetchFailed(FetchFault.METADATA)  # nobody steps down from TLS
    return url
