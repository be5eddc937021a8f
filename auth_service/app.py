"""The composition root: everything the auth service is made of, wired once, opened and closed in one place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import argon2
import structlog
from aiohttp import web

from auth_service.endpoints.bearer import FirstPartyBearer
from auth_service.endpoints.caller import CallerReader
from auth_service.endpoints.device_cookie import DeviceCookie
from auth_service.endpoints.jwks import MAX_AGE_SECONDS, JwksEndpoint
from auth_service.endpoints.login import LoginEndpoint
from auth_service.endpoints.logout import LogoutEndpoint
from auth_service.endpoints.metadata import MetadataEndpoint
from auth_service.endpoints.password import PasswordEndpoint
from auth_service.endpoints.register import RegisterEndpoint
from auth_service.endpoints.revocations import RevocationsEndpoint
from auth_service.endpoints.revoke import RevokeEndpoint
from auth_service.endpoints.sessions import SessionsEndpoint
from auth_service.endpoints.set_password import SetPasswordEndpoint
from auth_service.endpoints.status_lists import StatusListsEndpoint
from auth_service.endpoints.token import TokenEndpoint
from auth_service.grants.refresh_token import RefreshTokenGrant
from auth_service.identity.accounts import Accounts
from auth_service.identity.administration import AccountAdministration
from auth_service.identity.devices import Devices
from auth_service.identity.password_links import PasswordLinks
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import OWASP_ARGON2ID, PasswordHasher
from auth_service.identity.sessions import Sessions
from auth_service.identity.sweeping import Retention, Sweeper, sweeping
from auth_service.identity.throttle import UNLIMITED, Throttle, ThrottleLimits
from auth_service.keys.key_ring import KeyRing, open_key_ring
from auth_service.keys.schedule import DAY_SECONDS, KeySettings
from auth_service.keys.sealing import MasterKey, MasterKeys
from auth_service.model.session import SessionPolicy
from auth_service.oauth.resources import Resources
from auth_service.pages.renderer import PageRenderer
from auth_service.revocations.feed import RevocationFeed, following
from auth_service.revocations.figures import FeedCollector
from auth_service.revocations.status_lists import StatusLists
from auth_service.settings import AuthSettings
from auth_service.storage.storage import MIGRATIONS, SqlStorage
from auth_service.tokens.access_tokens import AccessTokens
from auth_service.tokens.sign_in import SignIn
from auth_service.tokens.token_issuer import TokenIssuer
from shared.clock import Clock, SystemClock
from shared.cors import CrossOrigin
from shared.database import Database, DatabaseReadiness
from shared.metrics import RequestFigures, create_metrics_app, create_registry
from shared.migrations import migrate
from shared.openapi import OpenApiDocument
from shared.serving import Listener
from shared.version import VERSION
from shared.web import Health, create_app

PATHS_FOR_PAGES = frozenset(
    {
        *("/register", "/login", "/token", "/logout", "/revoke", "/password"),
        *("/sessions", "/sessions/{sid}"),
    }
)
"""What pages of the origins in AUTH_CORS_ORIGINS may call. Never anything that is a page itself (RFC 9700 section 2.6);
what is for everybody says so itself."""
SERVICE_WORDS = ("signet",)
"""What this service is called; a password made of little else is refused."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuthService:
    """The two apps of one running service: the public one and the metrics."""

    app: web.Application
    metrics_app: web.Application


@contextlib.asynccontextmanager
async def open_auth_service(
    settings: AuthSettings, clock: Clock | None = None, *, password_profile: argon2.Parameters = OWASP_ARGON2ID
) -> AsyncIterator[AuthService]:
    """The auth service, migrated and with a key to sign with; closed when the block ends.

    `password_profile` is what new passwords are hashed with; no setting makes it weaker.

    Raises MasterKeyUnusable or DatabaseUnavailable when it cannot start.
    """
    clock = clock or SystemClock()
    for warning in settings.warnings():
        log.warning("unsafe_setting", what=warning)
    async with contextlib.AsyncExitStack() as stack:
        database = Database.open(settings.database_url.reveal())
        stack.push_async_callback(database.close)
        await asyncio.to_thread(migrate, database.engine, MIGRATIONS)
        revoked = asyncio.Event()
        storage = SqlStorage(database, revoked)
        hasher = PasswordHasher(
            threads=settings.password_threads, queue_length=settings.password_queue, profile=password_profile
        )
        stack.push_async_callback(hasher.close)
        masters = master_keys(settings)
        key_ring = await stack.enter_async_context(open_key_ring(storage, masters, key_settings(settings), clock))

        registry = create_registry()
        resources = Resources(settings.resources)
        throttle = Throttle(throttle_limits(settings), Devices(masters.device_keys), registry)
        policy = PasswordPolicy(SERVICE_WORDS)
        accounts = Accounts(storage, hasher, policy, throttle, clock)
        links = PasswordLinks(storage, hasher, policy, throttle.devices, clock)
        sessions = Sessions(storage, session_policy(settings), clock)
        access_tokens = AccessTokens(
            settings.issuer, key_ring, clock, settings.access_token_seconds, status_list=settings.status_list
        )
        issuer = TokenIssuer(access_tokens)
        sign_in = SignIn(accounts, sessions, resources, issuer, clock)
        caller, devices = CallerReader(settings.trusted_proxies), DeviceCookie(settings.issuer)
        bearer = FirstPartyBearer(settings.issuer, resources, key_ring, sessions, clock)
        grants = [RefreshTokenGrant(sessions)]
        feed = RevocationFeed(storage, key_ring, settings.issuer, clock, revoked)
        await stack.enter_async_context(following(feed))
        retention = Retention(security_events=settings.audit_days * DAY_SECONDS)
        await stack.enter_async_context(sweeping(Sweeper(storage, retention, clock, registry)))
        app = create_app(
            [
                RegisterEndpoint(accounts, caller, is_open=settings.registration == "open"),
                LoginEndpoint(sign_in, caller, devices),
                TokenEndpoint(grants, issuer, caller),
                LogoutEndpoint(sessions, bearer, caller),
                PasswordEndpoint(accounts, bearer, caller, devices),
                SetPasswordEndpoint(links, PageRenderer(), caller, devices),
                SessionsEndpoint(sessions, bearer, caller),
                RevokeEndpoint(sessions, bearer, caller),
                RevocationsEndpoint(feed),
                *status_lists(settings, storage, key_ring, clock),
                JwksEndpoint(key_ring),
                MetadataEndpoint(settings.issuer, resources, tuple(grant.grant_type for grant in grants)),
                OpenApiDocument(title="Signet auth service", version=VERSION, server=settings.issuer),
                Health([key_ring, DatabaseReadiness(database)]),
            ],
            figures=RequestFigures(registry),
            access_log=settings.access_log,
        )
        CrossOrigin(frozenset(settings.cors_origins), PATHS_FOR_PAGES).mount(app)
        app.on_shutdown.append(feed.release_waiting)
        registry.register(FeedCollector(feed))
        yield AuthService(app, create_metrics_app(registry))


@contextlib.asynccontextmanager
async def open_listeners(settings: AuthSettings) -> AsyncIterator[Sequence[Listener]]:
    """The service and where it listens, for `shared.serving.run`."""
    async with open_auth_service(settings) as service:
        yield [
            Listener(service.app, settings.host, settings.port),
            Listener(service.metrics_app, settings.metrics_host, settings.metrics_port),
        ]


@contextlib.asynccontextmanager
async def accounts_of(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> AsyncIterator[Accounts]:
    """The accounts, for a command."""
    hasher = PasswordHasher(threads=settings.password_threads, queue_length=settings.password_queue)
    try:
        throttle = Throttle(UNLIMITED, Devices(()))
        yield Accounts(storage, hasher, PasswordPolicy(SERVICE_WORDS), throttle, clock)
    finally:
        await hasher.close()


@contextlib.asynccontextmanager
async def administration_of(
    settings: AuthSettings, storage: SqlStorage, clock: Clock
) -> AsyncIterator[AccountAdministration]:
    """The operator's view of the accounts, for a command."""
    hasher = PasswordHasher(threads=settings.password_threads, queue_length=settings.password_queue)
    try:
        yield AccountAdministration(storage, hasher, PasswordPolicy(SERVICE_WORDS), clock)
    finally:
        await hasher.close()


@contextlib.asynccontextmanager
async def password_links_of(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> AsyncIterator[PasswordLinks]:
    """The password links, for a command."""
    hasher = PasswordHasher(threads=settings.password_threads, queue_length=settings.password_queue)
    try:
        yield PasswordLinks(storage, hasher, PasswordPolicy(SERVICE_WORDS), Devices(()), clock)
    finally:
        await hasher.close()


def master_keys(settings: AuthSettings) -> MasterKeys:
    """The master key of the setting, or the one in the file beside the embedded database, made at the first start."""
    former = [MasterKey.parse(key.reveal()) for key in settings.former_master_keys]
    if settings.master_key is not None:
        return MasterKeys(MasterKey.parse(settings.master_key.reveal()), former)
    folder = settings.embedded_folder
    assert folder is not None  # noqa: S101 - the settings refuse PostgreSQL without a master key
    return MasterKeys(MasterKey.load_or_create(folder / "master.key"), former)


def key_settings(settings: AuthSettings) -> KeySettings:
    """How keys are made and replaced under these settings."""
    return KeySettings(
        key_bits=settings.key_bits,
        rotation_seconds=settings.key_rotation_days * DAY_SECONDS,
        max_age_seconds=MAX_AGE_SECONDS,
    )


def throttle_limits(settings: AuthSettings) -> ThrottleLimits:
    """What may fail under these settings."""
    return ThrottleLimits(
        caller=settings.failures_per_caller,
        account=settings.failures_per_account,
        address=settings.failures_per_address,
        service=settings.failures_per_service,
        registrations_address=settings.registrations_per_address,
        registrations_service=settings.registrations_per_service,
    )


def status_lists(
    settings: AuthSettings, storage: SqlStorage, key_ring: KeyRing, clock: Clock
) -> Sequence[StatusListsEndpoint]:
    """The endpoint of the status lists, where sessions have a position in them."""
    return [StatusListsEndpoint(StatusLists(storage, key_ring, settings.issuer, clock))] if settings.status_list else []


def session_policy(settings: AuthSettings) -> SessionPolicy:
    """How long sessions live under these settings."""
    return SessionPolicy(
        idle_timeout=settings.session_idle_seconds,
        absolute_lifetime=settings.session_seconds,
        grace=settings.refresh_grace_seconds,
        status_list=settings.status_list,
    )
