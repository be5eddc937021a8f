"""The composition root: everything the resource service is made of, wired once, opened and closed in one place."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from resource_service.forward_auth import ForwardAuth
from resource_service.protection import ProtectedResource, Protection, TrustedIssuer
from resource_service.settings import IssuerSettings, ResourceSettings
from resource_service.user_data.endpoints import READ, WRITE, Listing, OneItem
from resource_service.user_data.item import Quota
from resource_service.user_data.store import MIGRATIONS, ItemStore
from shared.clock import Clock, SystemClock
from shared.database import Database, DatabaseReadiness
from shared.database_version import DatabaseVersion, VersionOfTheTurn
from shared.metrics import RequestFigures, create_metrics_app, create_registry
from shared.migrations import migrate
from shared.openapi import OpenApiDocument
from shared.scope import Scope
from shared.serving import Listener
from shared.token_rules import PROFILES
from shared.version import VERSION
from shared.web import Health, create_app

PUBLIC_PATHS = frozenset({"/livez", "/readyz", "/openapi.json"})
"""What anybody may ask for; every other route wants a token."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ResourceService:
    """The two apps of one running service: the public one and the metrics."""

    app: web.Application
    metrics_app: web.Application


@contextlib.asynccontextmanager
async def open_resource_service(
    settings: ResourceSettings, clock: Clock | None = None
) -> AsyncIterator[ResourceService]:
    """The resource service with its database migrated; closed when the block ends. It waits for no issuer.

    Raises DatabaseUnavailable when it cannot start.
    """
    clock = clock or SystemClock()
    for warning in settings.warnings():
        log.warning("unsafe_setting", what=warning)
    async with contextlib.AsyncExitStack() as stack:
        database = Database.open(settings.database_url.reveal())
        stack.push_async_callback(database.close)
        await asyncio.to_thread(migrate, database.engine, MIGRATIONS)
        version = await asyncio.to_thread(DatabaseVersion.open, settings.database_url.reveal())
        stack.callback(version.close)
        store = ItemStore(database, VersionOfTheTurn(version), Quota(settings.max_items, settings.max_bytes), clock)
        protection = Protection(protected_resource(settings), clock=clock)

        registry = create_registry()
        registry.register(protection.figures)
        app = create_app(
            [
                Listing(store),
                OneItem(store),
                ForwardAuth(protection.gate, {name: Scope(*scopes) for name, scopes in settings.forward_auth.items()}),
                protection.metadata,
                OpenApiDocument(title="Signet resource service", version=VERSION, server=settings.identifier),
                Health([protection.readiness, DatabaseReadiness(database)]),
            ],
            figures=RequestFigures(registry),
            middlewares=[protection.middleware],
            access_log=settings.access_log,
        )
        protection.attach(app)
        yield ResourceService(app, create_metrics_app(registry))


@contextlib.asynccontextmanager
async def open_listeners(settings: ResourceSettings) -> AsyncIterator[Sequence[Listener]]:
    """The service and where it listens, for `shared.serving.run`."""
    async with open_resource_service(settings) as service:
        yield [
            Listener(service.app, settings.host, settings.port),
            Listener(service.metrics_app, settings.metrics_host, settings.metrics_port),
        ]


def protected_resource(settings: ResourceSettings) -> ProtectedResource:
    """What is protected, and whom it trusts, under these settings."""
    return ProtectedResource(
        identifier=settings.identifier,
        issuers=tuple(_trusted_issuers(settings)),
        scopes=Scope(READ, WRITE),
        jwt_scheme=settings.accept_jwt_scheme,
        public_paths=PUBLIC_PATHS,
        allow_origins=frozenset(settings.cors_origins),
        plain_http_hosts=settings.plain_http_hosts,
        revocation_stale_seconds=settings.revocation_stale_seconds,
        revocation_fail_closed=settings.revocation_mode == "closed",
    )


def _trusted_issuers(settings: ResourceSettings) -> Iterable[TrustedIssuer]:
    first = IssuerSettings(
        issuer=settings.issuer,
        jwks_uri=settings.jwks_uri,
        revocations_uri=settings.revocations_uri,
        status_list_prefix=settings.status_list_prefix,
        token_profile=settings.token_profile,
        algorithms=settings.algorithms,
        unlabelled_algorithm=settings.unlabelled_algorithm,
    )
    for trusted in (first, *settings.trusted_issuers):
        yield TrustedIssuer(
            issuer=trusted.issuer,
            jwks_uri=trusted.jwks_uri,
            revocations_uri=trusted.revocations_uri,
            status_list_prefix=trusted.status_list_prefix,
            algorithms=frozenset(trusted.algorithms),
            unlabelled_algorithm=trusted.unlabelled_algorithm,
            profile=PROFILES[trusted.token_profile],
            leeway=settings.leeway_seconds,
            max_lifetime=settings.max_token_seconds,
            stale_seconds=settings.stale_seconds,
            last_good_file=_file_of(trusted.issuer, settings.kept_key_sets, ".json"),
            kept_revocations=_file_of(trusted.issuer, settings.kept_revocations, ".documents"),
        )


def _file_of(issuer: str, folder: Path | None, suffix: str) -> Path | None:
    # An issuer is a URL and cannot be a file's name.
    return None if folder is None else folder / f"{hashlib.sha256(issuer.encode()).hexdigest()[:32]}{suffix}"
