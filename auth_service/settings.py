"""The auth service's settings, all of them; `.env.example` explains each."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from auth_service.keys.sealing import HOW_TO_MAKE_ONE, MasterKey
from shared.database import parse_database_url
from shared.scope import Scope
from shared.settings import Port, Settings, check_url

MAX_ACCESS_TOKEN_SECONDS = 900
"""The longest life of an access token: what a resource server accepts, too (contract; RFC 9068 leaves it open)."""
MAX_REFRESH_GRACE_SECONDS = 60
DEFAULT_DATABASE_URL = "sqlite:///var/auth/auth.sqlite3"


class AuthSettings(Settings):
    """`AUTH_*`; `plain_http_hosts` stands first because the checks of the URLs below read it."""

    prefix: ClassVar[str] = "AUTH_"

    plain_http_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 8001
    issuer: str = ""
    database_url: SecretStr = SecretStr(DEFAULT_DATABASE_URL)
    resources: dict[str, tuple[str, ...]] = Field(
        default={"http://localhost:8002": ("data:read", "data:write")}, min_length=1
    )
    registration: Literal["open", "closed"] = "open"
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9001

    master_key: SecretStr | None = None
    former_master_keys: tuple[SecretStr, ...] = ()
    key_bits: Literal[2048, 3072, 4096] = 2048
    key_rotation_days: int = Field(default=30, ge=1, le=365)
    access_token_seconds: int = Field(default=300, ge=30, le=MAX_ACCESS_TOKEN_SECONDS)
    refresh_grace_seconds: int = Field(default=10, ge=0, le=MAX_REFRESH_GRACE_SECONDS)
    session_idle_seconds: int = Field(default=14 * 86_400, ge=300, le=365 * 86_400)
    session_seconds: int = Field(default=90 * 86_400, ge=300, le=365 * 86_400)
    password_threads: int = Field(default=len(os.sched_getaffinity(0)), ge=1, le=64)
    password_queue: int = Field(default=64, ge=1, le=10_000)
    trusted_proxies: tuple[str, ...] = ()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False

    @field_validator("key_bits", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        # A Literal of numbers does not read text by itself, and the environment is text.
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, issuer: str, info: ValidationInfo) -> str:
        if not issuer:
            return f"http://localhost:{info.data.get('port', 8001)}"
        if issuer.endswith("/"):
            raise ValueError("must not end with a slash")
        return check_url(issuer, plain_http_hosts=info.data.get("plain_http_hosts", ()))

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, url: SecretStr) -> SecretStr:
        parse_database_url(url.get_secret_value())
        return url

    @field_validator("master_key")
    @classmethod
    def _master_key(cls, master_key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if master_key is not None:
            MasterKey.parse(master_key.get_secret_value())
        elif "database_url" in info.data and not _is_embedded(info.data["database_url"]):
            # A file beside one process would lock the other replicas out of the keys in their database.
            raise ValueError(f"must be given with PostgreSQL, the same for every replica; {HOW_TO_MAKE_ONE}")
        return master_key

    @field_validator("former_master_keys")
    @classmethod
    def _former_master_keys(cls, master_keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for master_key in master_keys:
            MasterKey.parse(master_key.get_secret_value())
        return master_keys

    @field_validator("resources")
    @classmethod
    def _resources(cls, resources: dict[str, tuple[str, ...]], info: ValidationInfo) -> dict[str, tuple[str, ...]]:
        for identifier, scopes in resources.items():
            check_url(identifier, plain_http_hosts=info.data.get("plain_http_hosts", ()))
            if not scopes:
                raise ValueError("must offer at least one scope for each resource")
            Scope(*scopes)
        return resources

    @field_validator("session_seconds")
    @classmethod
    def _session_seconds(cls, seconds: int, info: ValidationInfo) -> int:
        if seconds < info.data.get("session_idle_seconds", 0):
            raise ValueError("must not be less than AUTH_SESSION_IDLE_SECONDS")
        return seconds

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError("must list addresses or networks such as 10.0.0.0/8") from None
        return networks

    @property
    def embedded_folder(self) -> Path | None:
        """The folder of the embedded database; None with PostgreSQL."""
        url = parse_database_url(self.database_url.get_secret_value())
        return Path(url.database).parent if _is_embedded(self.database_url) and url.database else None

    def warnings(self) -> list[str]:
        """What is allowed but should be seen in the log."""
        return [f"plain http is accepted for the host {host}" for host in self.plain_http_hosts]


def _is_embedded(url: SecretStr) -> bool:
    return parse_database_url(url.get_secret_value()).drivername.startswith("sqlite")
