"""The resource service's settings, all of them; `.env.example` explains each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from shared.database import parse_database_url
from shared.settings import Port, Settings, check_url, is_loopback
from shared.token_rules import LEEWAY_SECONDS, MAX_LEEWAY_SECONDS, MAX_LIFETIME_SECONDS

DEFAULT_DATABASE_URL = "sqlite:///var/resource/resource.sqlite3"
MAX_STALE_SECONDS = 86_400
"""A day: longer than that an issuer that cannot be reached is not believed any more."""
MEBIBYTE = 1_048_576

TokenProfile = Literal["rfc9068", "plain-jwt"]
"""`rfc9068`: to the letter. `plain-jwt`: also issuers that send no `typ`, `scp` for `scope`, and the like."""
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519", "EdDSA"]


def _at_least_one(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    if not algorithms:
        raise ValueError("must name at least one")
    return algorithms


Algorithms = Annotated[tuple[Algorithm, ...], AfterValidator(_at_least_one)]


class IssuerSettings(BaseModel):
    """One more issuer in RESOURCE_TRUSTED_ISSUERS; the members are as the settings of the first one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: str
    jwks_uri: str | None = None
    token_profile: TokenProfile = "rfc9068"
    algorithms: Algorithms = ("RS256",)


class ResourceSettings(Settings):
    """`RESOURCE_*`; `plain_http_hosts` stands first because the checks of the URLs below read it."""

    prefix: ClassVar[str] = "RESOURCE_"

    plain_http_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 8002
    identifier: str = Field(default_factory=lambda data: f"http://localhost:{data['port']}")
    issuer: str = "http://localhost:8001"
    jwks_uri: str | None = None
    database_url: SecretStr = SecretStr(DEFAULT_DATABASE_URL)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9002

    token_profile: TokenProfile = "rfc9068"
    algorithms: Algorithms = ("RS256",)
    trusted_issuers: tuple[IssuerSettings, ...] = ()
    leeway_seconds: int = Field(default=LEEWAY_SECONDS, ge=0, le=MAX_LEEWAY_SECONDS)
    max_token_seconds: int = Field(default=MAX_LIFETIME_SECONDS, ge=1, le=86_400)
    stale_seconds: int = Field(default=3_600, ge=0, le=MAX_STALE_SECONDS)
    key_set_folder: Path | None = None
    accept_jwt_scheme: bool = True
    cors_origins: tuple[str, ...] = ()

    max_items: int = Field(default=1_000, ge=1, le=100_000)
    max_bytes: int = Field(default=16 * MEBIBYTE, ge=1_024, le=1_024 * MEBIBYTE)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False

    @field_validator("identifier", "issuer")
    @classmethod
    def _url(cls, url: str, info: ValidationInfo) -> str:
        return check_url(url, plain_http_hosts=info.data.get("plain_http_hosts", ()))

    @field_validator("jwks_uri")
    @classmethod
    def _jwks_uri(cls, url: str | None, info: ValidationInfo) -> str | None:
        return None if url is None else _check_key_url(url, info)

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, url: SecretStr) -> SecretStr:
        parse_database_url(url.get_secret_value())
        return url

    @field_validator("metrics_port")
    @classmethod
    def _metrics_port(cls, port: int, info: ValidationInfo) -> int:
        if port == info.data.get("port"):
            raise ValueError("must not be RESOURCE_PORT: the metrics are not for those who use the service")
        return port

    @field_validator("trusted_issuers")
    @classmethod
    def _trusted_issuers(cls, issuers: tuple[IssuerSettings, ...], info: ValidationInfo) -> tuple[IssuerSettings, ...]:
        known = {info.data.get("issuer")}
        for trusted in issuers:
            check_url(trusted.issuer, plain_http_hosts=info.data.get("plain_http_hosts", ()))
            if trusted.issuer in known:
                raise ValueError("must not name an issuer twice, nor RESOURCE_ISSUER again")
            known.add(trusted.issuer)
            if trusted.jwks_uri is not None:
                _check_key_url(trusted.jwks_uri, info)
        return issuers

    @field_validator("cors_origins")
    @classmethod
    def _cors_origins(cls, origins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("must be * alone, which already allows every origin, or a list without it")
        for origin in origins:
            if origin != "*":
                check_url(origin, plain_http_hosts=info.data.get("plain_http_hosts", ()), allow_path=False)
        return origins

    @property
    def kept_key_sets(self) -> Path | None:
        """Where the newest good key set of each issuer is kept; None keeps none."""
        if self.key_set_folder is not None:
            return self.key_set_folder
        url = parse_database_url(self.database_url.get_secret_value())
        return Path(str(url.database)).parent / "key-sets" if url.drivername.startswith("sqlite") else None

    def warnings(self) -> list[str]:
        """What is allowed but should be seen in the log."""
        hosts = sorted({host for host in self._plain_hosts() if host in self.plain_http_hosts})
        found = [f"plain http is used for the host {host}" for host in hosts]
        if not is_loopback(self.metrics_host):
            found.append(f"the metrics are served beyond this machine, on {self.metrics_host}")
        if "plain-jwt" in (self.token_profile, *(trusted.token_profile for trusted in self.trusted_issuers)):
            found.append("tokens that do not say that they are access tokens are accepted (plain-jwt)")
        return found

    def _plain_hosts(self) -> Iterator[str]:
        urls = [self.identifier, self.issuer, self.jwks_uri]
        for trusted in self.trusted_issuers:
            urls += [trusted.issuer, trusted.jwks_uri]
        for url in filter(None, urls):
            parts = urlsplit(url)
            if parts.scheme == "http" and parts.hostname:
                yield parts.hostname


def _check_key_url(url: str, info: ValidationInfo) -> str:
    """A key set's address may have a query, an identifier may not."""
    check_url(url.partition("?")[0], plain_http_hosts=info.data.get("plain_http_hosts", ()))
    if "#" in url or not url.isascii() or not url.isprintable():
        raise ValueError("must be an absolute URL in ASCII without a fragment")
    return url
