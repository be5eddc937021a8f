"""The auth service's settings, all of them; `.env.example` explains each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from auth_service.keys.sealing import HOW_TO_MAKE_ONE, MasterKey
from auth_service.model.password_link import MAX_LIFETIME_SECONDS, MIN_LIFETIME_SECONDS
from auth_service.model.session import MAX_GRACE_SECONDS
from shared import token_rules
from shared.database import parse_database_url
from shared.scope import Scope
from shared.settings import Check, Port, Secret, Settings, check_url, is_loopback

MAX_ACCOUNT_FAILURES = 100
"""Failed sign-ins to one account in an hour: OWASP ASVS 4.0.3, 2.2.1, allows no more."""
MAX_HOURLY = 100_000
MAX_PASSWORD_THREADS = 64
# Not every system tells which cores a process may use.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
DEFAULT_PASSWORD_THREADS = min(_CORES, MAX_PASSWORD_THREADS)
DEFAULT_DATABASE_URL = "sqlite:///var/auth/auth.sqlite3"


AccountFailures = Annotated[int, Meta(ge=1, le=MAX_ACCOUNT_FAILURES)]
SessionSeconds = Annotated[int, Meta(ge=300, le=365 * 86_400)]


def _check_issuer(issuer: str, settings: Mapping[str, Any]) -> str:
    if issuer.endswith("/"):
        raise ValueError("must not end with a slash")
    return check_url(issuer, plain_http_hosts=settings["plain_http_hosts"])


def _check_database_url(url: Secret, _settings: Mapping[str, Any]) -> Secret:
    parse_database_url(url.reveal())
    return url


def _check_resources(resources: dict[str, tuple[str, ...]], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for identifier, scopes in resources.items():
        check_url(identifier, plain_http_hosts=settings["plain_http_hosts"])
        if not scopes:
            raise ValueError("must offer at least one scope for each resource")
        Scope(*scopes)
    return resources


def _check_metrics_port(port: int, settings: Mapping[str, Any]) -> int:
    if port == settings["port"]:
        raise ValueError("must not be AUTH_PORT: the metrics are not for those who use the service")
    return port


def _check_master_key(master_key: Secret | None, settings: Mapping[str, Any]) -> Secret | None:
    if master_key is not None:
        MasterKey.parse(master_key.reveal())
    elif not _is_embedded(settings["database_url"]):
        # A file beside one process would lock the other replicas out of the keys in their database.
        raise ValueError(f"must be given with PostgreSQL, the same for every replica; {HOW_TO_MAKE_ONE}")
    return master_key


def _check_former_master_keys(master_keys: tuple[Secret, ...], _settings: Mapping[str, Any]) -> tuple[Secret, ...]:
    for master_key in master_keys:
        MasterKey.parse(master_key.reveal())
    return master_keys


def _check_session_seconds(seconds: int, settings: Mapping[str, Any]) -> int:
    if seconds < settings["session_idle_seconds"]:
        raise ValueError("must not be less than AUTH_SESSION_IDLE_SECONDS")
    return seconds


def _check_trusted_proxies(networks: tuple[str, ...], _settings: Mapping[str, Any]) -> tuple[str, ...]:
    for network in networks:
        try:
            prefix = ip_network(network).prefixlen
        except ValueError:
            raise ValueError("must list addresses or networks such as 10.0.0.0/8") from None
        if prefix == 0:
            raise ValueError("must not trust everybody: then anybody may name any address")
    return networks


def _check_cors_origins(origins: tuple[str, ...], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Each by its name: under `*` any page could have its visitors guess passwords, and read what came of it."""
    for origin in origins:
        check_url(origin, plain_http_hosts=settings["plain_http_hosts"], allow_path=False)
    return origins


class AuthSettings(Settings, frozen=True, kw_only=True):
    """`AUTH_*`; a check may read the settings that stand above its own."""

    prefix: ClassVar[str] = "AUTH_"
    derived: ClassVar = {"issuer": lambda settings: f"http://localhost:{settings['port']}"}
    checks: ClassVar[Mapping[str, Check]] = {
        "issuer": _check_issuer,
        "database_url": _check_database_url,
        "resources": _check_resources,
        "metrics_port": _check_metrics_port,
        "master_key": _check_master_key,
        "former_master_keys": _check_former_master_keys,
        "session_seconds": _check_session_seconds,
        "trusted_proxies": _check_trusted_proxies,
        "cors_origins": _check_cors_origins,
    }

    plain_http_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 8001
    issuer: str
    database_url: Secret = Secret(DEFAULT_DATABASE_URL)
    resources: Annotated[dict[str, tuple[str, ...]], Meta(min_length=1)] = field(
        default_factory=lambda: {"http://localhost:8002": ("data:read", "data:write")}
    )
    registration: Literal["open", "closed"] = "open"
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9001

    master_key: Secret | None = None
    former_master_keys: tuple[Secret, ...] = ()
    key_bits: Literal[2048, 3072, 4096] = 2048
    key_rotation_days: Annotated[int, Meta(ge=1, le=365)] = 30
    access_token_seconds: Annotated[int, Meta(ge=30, le=token_rules.MAX_LIFETIME_SECONDS)] = 300
    refresh_grace_seconds: Annotated[int, Meta(ge=0, le=MAX_GRACE_SECONDS)] = 10
    session_idle_seconds: SessionSeconds = 14 * 86_400
    session_seconds: SessionSeconds = 90 * 86_400
    status_list: bool = False
    password_threads: Annotated[int, Meta(ge=1, le=MAX_PASSWORD_THREADS)] = DEFAULT_PASSWORD_THREADS
    password_queue: Annotated[int, Meta(ge=1, le=10_000)] = 64
    password_link_seconds: Annotated[int, Meta(ge=MIN_LIFETIME_SECONDS, le=MAX_LIFETIME_SECONDS)] = 86_400
    failures_per_caller: AccountFailures = 10
    failures_per_account: AccountFailures = 30
    failures_per_address: Annotated[int, Meta(ge=1, le=MAX_HOURLY)] = 100
    failures_per_service: Annotated[int, Meta(ge=1, le=MAX_HOURLY)] = 10_000
    registrations_per_address: Annotated[int, Meta(ge=1, le=MAX_HOURLY)] = 20
    registrations_per_service: Annotated[int, Meta(ge=1, le=MAX_HOURLY)] = 1_000
    audit_days: Annotated[int, Meta(ge=1, le=3_650)] = 400
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False

    @property
    def embedded_folder(self) -> Path | None:
        """The folder of the embedded database; None with PostgreSQL."""
        url = parse_database_url(self.database_url.reveal())
        return Path(url.database).parent if _is_embedded(self.database_url) and url.database else None

    def warnings(self) -> list[str]:
        """What is allowed but should be seen in the log."""
        found = [f"plain http is accepted for the host {host}" for host in self.plain_http_hosts]
        if not is_loopback(self.metrics_host):
            found.append(f"the metrics are served beyond this machine, on {self.metrics_host}")
        return found


def _is_embedded(url: Secret) -> bool:
    return parse_database_url(url.reveal()).drivername.startswith("sqlite")
