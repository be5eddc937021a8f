"""The one entry: everything that protects an application, made from one value and mounted in one call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from resource_service.protection.bounded_fetch import FetchLimits
from resource_service.protection.configuration import ProtectedResource
from resource_service.protection.figures import (
    IssuerHealth,
    ProtectionFigures,
    ProtectionHealth,
    ProtectionReadiness,
)
from resource_service.protection.followed_revocations import FollowedRevocations
from resource_service.protection.metadata import ResourceMetadata
from resource_service.protection.middleware import Gate, protection_middleware
from resource_service.protection.remote_key_set import RemoteKeySet
from resource_service.protection.remote_status_list import RemoteStatusLists
from resource_service.protection.revocation import RevocationCheck
from resource_service.protection.revocation_feed import RemoteRevocations
from resource_service.protection.token_cache import VerifiedTokenCache
from resource_service.protection.verifier import IssuerVerifier, Verifier
from shared.clock import Clock, SystemClock
from shared.cors import CrossOrigin


class Protection:
    """Protects one aiohttp application as one resource server.

        Protection(ProtectedResource("https://api.example", (TrustedIssuer("https://login.example"),))).setup(app)

    closes every route that is not marked `@public`. An application that composes its layers itself takes the parts
    instead: `gate`, `middleware`, `metadata`, `running`, `readiness`, `figures`.
    """

    def __init__(
        self,
        resource: ProtectedResource,
        *,
        clock: Clock | None = None,
        revocation: RevocationCheck | None = None,
        fetch_limits: FetchLimits | None = None,
    ) -> None:
        """`revocation` is asked in the place of the issuers' feeds and status lists; the feeds are followed all the
        same."""
        clock = clock or SystemClock()
        self._issuers = tuple(
            IssuerVerifier(
                trusted.token_rules(resource.identifier),
                RemoteKeySet(trusted, clock, plain_http_hosts=resource.plain_http_hosts, limits=fetch_limits),
                VerifiedTokenCache(resource.cached_tokens, resource.cached_bytes),
            )
            for trusted in resource.issuers
        )
        self._feeds = {
            trusted.issuer: RemoteRevocations(trusted, resource, issuer.keys, clock, limits=fetch_limits)
            for trusted, issuer in zip(resource.issuers, self._issuers, strict=True)
        }
        self._lists = {
            trusted.issuer: RemoteStatusLists(
                trusted, resource, self._feeds[trusted.issuer].keys, clock, limits=fetch_limits
            )
            for trusted in resource.issuers
        }
        followed = FollowedRevocations(self._feeds, self._lists if revocation is None else {})
        self._cross_origin = CrossOrigin(resource.allow_origins)
        self.verifier = Verifier(self._issuers, revocation or followed, clock)
        self.gate = Gate(resource, self.verifier, followed, clock)
        self.middleware: Any = protection_middleware(resource, self.gate, self._cross_origin)
        self.metadata = ResourceMetadata(resource)
        self.readiness = ProtectionReadiness(self.health)
        self.figures = ProtectionFigures(self.health)

    def setup(self, app: web.Application) -> None:
        """Protect `app`, innermost of the middlewares it has so far; add the metadata route and the key refreshing."""
        app.middlewares.append(self.middleware)
        app.add_routes(self.metadata.routes())
        self.attach(app)

    def attach(self, app: web.Application) -> None:
        """Keep keys and revocations fresh while `app` runs; add the headers for browsers where origins are allowed."""
        app.cleanup_ctx.append(self.running)
        if self._cross_origin.is_used:
            app.on_response_prepare.append(self._cross_origin.add_headers)

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """A `cleanup_ctx`: key sets refresh and feeds are followed from start to stop. A start waits for no issuer."""
        async with AsyncExitStack() as stack:
            for issuer in self._issuers:
                await stack.enter_async_context(issuer.keys.running())
            for feed in self._feeds.values():
                await stack.enter_async_context(feed.running())
            for lists in self._lists.values():
                await stack.enter_async_context(lists.running())
            yield

    def health(self) -> ProtectionHealth:
        """The figures at this moment."""
        return ProtectionHealth(
            tuple(
                IssuerHealth(
                    issuer.keys.health(),
                    issuer.cache.figures(),
                    self._feeds[issuer.issuer].health(),
                    self._lists[issuer.issuer].health(),
                )
                for issuer in self._issuers
            ),
            dict(self.verifier.refusals),
        )
