"""Finding the key set through the issuer's metadata (RFC 8414, OpenID Connect Discovery)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from resource_service.protection.bounded_fetch import FetchFault, FetchLimits
from resource_service.protection.configuration import TrustedIssuer
from resource_service.protection.discovery import _read_key_url, metadata_urls
from resource_service.protection.remote_key_set import RemoteKeySet
from tests.clock import FrozenClock
from tests.protocol.minting import signing_key
from tests.resource_service.protection.issuer import Answer, Issuer, body_of, json_of, redirect, until

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
LIMITS = FetchLimits(connect_seconds=0.5, total_seconds=0.5)


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        ("https://login.example", (f"https://login.example{OAUTH}", f"https://login.example{OPENID}")),
        ("https://login.example/", (f"https://login.example{OAUTH}", f"https://login.example{OPENID}")),
        ("https://login.example/a/b", (f"https://login.example{OAUTH}/a/b", f"https://login.example/a/b{OPENID}")),
        (
            "https://login.example:8443/a/",
            (f"https://login.example:8443{OAUTH}/a", f"https://login.example:8443/a{OPENID}"),
        ),
    ],
)
def test_where_metadata_lies(issuer: str, urls: tuple[str, ...]) -> None:
    """RFC 8414 puts the well-known part before the path, OpenID behind it; one final slash does not count."""
    assert metadata_urls(issuer) == urls


def metadata_of(server: Issuer, /, **changes: Any) -> Answer:
    return json_of({"issuer": server.url, "jwks_uri": server.jwks_uri} | changes)


async def fetch_once(issuer: Issuer, path: str = "") -> RemoteKeySet:
    """A key set after its first attempt."""
    keys = RemoteKeySet(TrustedIssuer(issuer.url + path), FrozenClock(), limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)
    return keys


@pytest.mark.parametrize("path", [OAUTH, OPENID])
async def test_either_document_will_do(issuer: Issuer, path: str) -> None:
    """RFC 8414 metadata is asked first; an issuer that has only OpenID metadata is found too."""
    issuer.metadata_answers[path] = metadata_of(issuer)
    keys = await fetch_once(issuer)
    assert keys.find(signing_key().kid) is not None
    assert issuer.other_requests == ([OAUTH] if path == OAUTH else [OAUTH, OPENID])


async def test_an_issuer_with_a_path(issuer: Issuer) -> None:
    """A tenant in the issuer's path is part of both addresses and of the comparison."""
    issuer.metadata_answers[f"/tenant{OPENID}"] = metadata_of(issuer, issuer=f"{issuer.url}/tenant")
    keys = await fetch_once(issuer, "/tenant")
    assert keys.health().usable
    assert issuer.other_requests == [f"{OAUTH}/tenant", f"/tenant{OPENID}"]


BAD_METADATA: dict[str, tuple[dict[str, Any] | Answer, FetchFault]] = {
    "another issuer": ({"issuer": "https://evil.example"}, FetchFault.ISSUER_MISMATCH),
    "the issuer with a slash": ({"issuer": "{url}/"}, FetchFault.ISSUER_MISMATCH),
    "the issuer in capitals": ({"issuer": "HTTP://127.0.0.1"}, FetchFault.ISSUER_MISMATCH),
    "a list with the issuer": ({"issuer": ["{url}"]}, FetchFault.ISSUER_MISMATCH),
    "no issuer": ({"issuer": None}, FetchFault.ISSUER_MISMATCH),
    "no key set": ({"jwks_uri": None}, FetchFault.METADATA),
    "key set a list": ({"jwks_uri": ["{url}/keys"]}, FetchFault.METADATA),
    "key set without TLS elsewhere": ({"jwks_uri": "http://keys.example/keys"}, FetchFault.METADATA),
    "key set a file": ({"jwks_uri": "file:///etc/passwd"}, FetchFault.METADATA),
    "key set over FTP": ({"jwks_uri": "ftp://127.0.0.1/keys"}, FetchFault.METADATA),
    "key set with user information": ({"jwks_uri": "http://a:b@127.0.0.1/keys"}, FetchFault.METADATA),
    "key set relative": ({"jwks_uri": "/keys"}, FetchFault.METADATA),
    "key set with a line break": ({"jwks_uri": "http://127.0.0.1/keys\r\nX: y"}, FetchFault.METADATA),
    "not JSON": (body_of(b"<html>", "application/json"), FetchFault.METADATA),
    "a list": (json_of([]), FetchFault.METADATA),
    "HTML": (body_of(b"<html>", "text/html"), FetchFault.CONTENT_TYPE),
    "redirect": (redirect, FetchFault.REDIRECT),
    "server error": (body_of(b"{}", "application/json", status=500), FetchFault.STATUS),
    "too large": (body_of(b" " * 65_537, "application/json"), FetchFault.TOO_LARGE),
}


@pytest.mark.parametrize(("change", "fault"), BAD_METADATA.values(), ids=BAD_METADATA.keys())
async def test_metadata_that_is_not_the_issuer_s_is_discarded(
    issuer: Issuer, change: dict[str, Any] | Answer, fault: FetchFault
) -> None:
    """No key is fetched from where wrong metadata points (CVE-2026-49478, CVE-2026-104056, CVE-2026-48522)."""
    if isinstance(change, dict):
        filled = {
            name: value.replace("{url}", issuer.url) if isinstance(value, str) else value
            for name, value in change.items()
        }
        if isinstance(filled.get("issuer"), list):
            filled["issuer"] = [issuer.url]
        change = metadata_of(issuer, **filled)
    issuer.metadata_answers[OAUTH] = change
    keys = await fetch_once(issuer)
    assert not keys.health().usable
    assert keys.health().last_fault is fault
    assert issuer.key_requests == []
    assert not any(path == "/elsewhere" for path in issuer.other_requests)


async def test_both_spellings_of_an_issuer_are_told(issuer: Issuer) -> None:
    """Who has set one that the issuer does not use sees both; a long one is cut."""
    for found in ("http://localhost:8001", "x" * 5_000):
        issuer.metadata_answers[OAUTH] = metadata_of(issuer, issuer=found)
        with capture_logs() as lines:
            await fetch_once(issuer)
        (line,) = [line for line in lines if line["event"] == "metadata_of_another_issuer"]
        assert (line["configured"], line["found"]) == (issuer.url, found[:256])


async def test_wrong_metadata_later_keeps_what_is_known(issuer: Issuer, clock: FrozenClock) -> None:
    """An hour on the metadata is read again; when it has become somebody else's, the known address stays."""
    issuer.metadata_answers[OAUTH] = metadata_of(issuer)
    keys = RemoteKeySet(TrustedIssuer(issuer.url), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)
        clock.advance(299)
        await until(lambda: keys.health().attempts == 2 and keys._flight is None)
        assert issuer.other_requests == [OAUTH]
        issuer.metadata_answers[OAUTH] = metadata_of(issuer, issuer="https://evil.example")
        for count in range(3, 16):
            clock.advance(299)
            await until(lambda count=count: keys.health().attempts == count and keys._flight is None)  # type: ignore[misc]
        assert issuer.other_requests.count(OAUTH) >= 2
        assert keys.health().failures_in_row == 0
        assert len(issuer.key_requests) == 15


async def test_a_key_set_that_moved_is_followed(issuer: Issuer, clock: FrozenClock) -> None:
    """After a failed fetch the metadata is asked again, and the old document's tag is not sent to the new one."""
    issuer.metadata_answers[OAUTH] = metadata_of(issuer)
    issuer.etag = '"v1"'
    keys = RemoteKeySet(TrustedIssuer(issuer.url), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)
        issuer.answer = body_of(b"", status=404)
        clock.advance(299)
        await until(lambda: keys.health().attempts == 2 and keys._flight is None)
        issuer.metadata_answers[OAUTH] = metadata_of(issuer, jwks_uri=f"{issuer.jwks_uri}?p=1")
        issuer.answer = None
        await until(lambda: keys._due > clock.monotonic())
        clock.advance(2)
        await until(lambda: keys.health().attempts == 3 and keys._flight is None)
        assert keys.health().last_fault is None
        assert "If-None-Match" not in issuer.key_requests[-1]


def test_nobody_steps_down_from_tls() -> None:
    """Metadata of an https issuer cannot send us to a plain http key set, not even on this machine."""
    body = b'{"issuer":"https://login.example","jwks_uri":"http://localhost/keys"}'
    with pytest.raises(Exception, match="metadata"):
        _read_key_url(body, "https://login.example", ())
    secure = body.replace(b"http://localhost", b"https://keys.example")
    assert _read_key_url(secure, "https://login.example", ()) == "https://keys.example/keys"


async def test_a_configured_address_needs_no_metadata(issuer: Issuer, clock: FrozenClock) -> None:
    """Where the key set's address is set, nothing else is asked."""
    trusted = replace(TrustedIssuer("https://login.example"), jwks_uri=issuer.jwks_uri)
    keys = RemoteKeySet(trusted, clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().usable)
        await asyncio.sleep(0)
    assert issuer.other_requests == []
