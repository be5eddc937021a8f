"""The auth service's own settings: their defaults, and what is refused at the start."""

from __future__ import annotations

import pytest

from auth_service.keys.sealing import new_master_key
from auth_service.settings import AuthSettings
from shared.settings import SettingsError

POSTGRESQL = {"AUTH_DATABASE_URL": "postgresql://signet@db.example/signet"}


def test_nothing_needs_to_be_set() -> None:
    """The defaults are those of the contract."""
    settings = AuthSettings.load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8001)
    assert settings.issuer == "http://localhost:8001"
    assert settings.database_url.reveal() == "sqlite:///var/auth/auth.sqlite3"
    assert settings.resources == {"http://localhost:8002": ("data:read", "data:write")}
    assert settings.registration == "open"
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9001)
    assert (settings.key_bits, settings.access_token_seconds, settings.refresh_grace_seconds) == (2048, 300, 10)
    assert settings.password_link_seconds == 86_400
    assert settings.trusted_proxies == ()
    assert settings.warnings() == []


def test_the_issuer_follows_the_port() -> None:
    """Whoever moves the port has a working issuer, and one that is set stays as it is spelt."""
    assert AuthSettings.load({"AUTH_PORT": "9999"}).issuer == "http://localhost:9999"
    given = {"AUTH_PORT": "9999", "AUTH_ISSUER": "https://id.example.org"}
    assert AuthSettings.load(given).issuer == "https://id.example.org"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTH_ISSUER", "http://id.example.org"),
        ("AUTH_ISSUER", "https://id.example.org/"),
        ("AUTH_ISSUER", "https://ID.example.org"),
        ("AUTH_ISSUER", "https://user@id.example.org"),
        ("AUTH_ISSUER", "https://id.example.org?x"),
        ("AUTH_ISSUER", "file:///etc"),
        ("AUTH_ISSUER", "id.example.org"),
        ("AUTH_RESOURCES", "{}"),
        ("AUTH_RESOURCES", "[]"),
        ("AUTH_RESOURCES", '{"http://api.example.org": ["a"]}'),
        ("AUTH_RESOURCES", '{"https://api.example.org": []}'),
        ("AUTH_RESOURCES", '{"https://api.example.org": ["a b"]}'),
        ("AUTH_RESOURCES", '{"https://api.example.org": "a"}'),
        ("AUTH_RESOURCES", '{"https://api.example.org": ["a"], "https://api.example.org": ["b"]}'),
        ("AUTH_REGISTRATION", "OPEN"),
        ("AUTH_REGISTRATION", ""),
        ("AUTH_KEY_BITS", "1024"),
        ("AUTH_KEY_BITS", "2049"),
        ("AUTH_KEY_BITS", "8192"),
        ("AUTH_ACCESS_TOKEN_SECONDS", "901"),
        ("AUTH_ACCESS_TOKEN_SECONDS", "0"),
        ("AUTH_ACCESS_TOKEN_SECONDS", "300.5"),
        ("AUTH_REFRESH_GRACE_SECONDS", "61"),
        ("AUTH_REFRESH_GRACE_SECONDS", "-1"),
        ("AUTH_SESSION_SECONDS", "299"),
        ("AUTH_PASSWORD_LINK_SECONDS", "299"),
        ("AUTH_PASSWORD_LINK_SECONDS", "604801"),
        ("AUTH_PORT", "0"),
        ("AUTH_PORT", "65536"),
        ("AUTH_METRICS_PORT", "8001"),
        ("AUTH_DATABASE_URL", "sqlite://"),
        ("AUTH_DATABASE_URL", "mysql://db/x"),
        ("AUTH_FAILURES_PER_ACCOUNT", "101"),
        ("AUTH_PASSWORD_THREADS", "0"),
        ("AUTH_LOG_LEVEL", "trace"),
        ("AUTH_ACCESS_LOG", "perhaps"),
    ],
)
def test_what_is_malformed_or_unsafe_is_refused(variable: str, value: str) -> None:
    """One line that names the setting, and never the value where it could be told from the words."""
    with pytest.raises(SettingsError) as refused:
        AuthSettings.load({variable: value})
    assert [problem.split(":")[0].split(" ")[0] for problem in refused.value.problems] == [variable]


def test_a_session_outlives_its_idle_timeout() -> None:
    """The two must fit together, whichever of them is set."""
    for given in (
        {"AUTH_SESSION_IDLE_SECONDS": "7776001"},
        {"AUTH_SESSION_SECONDS": "86400"},
        {"AUTH_SESSION_IDLE_SECONDS": "1000", "AUTH_SESSION_SECONDS": "999"},
    ):
        with pytest.raises(SettingsError, match="AUTH_SESSION_SECONDS"):
            AuthSettings.load(given)
    AuthSettings.load({"AUTH_SESSION_IDLE_SECONDS": "1000", "AUTH_SESSION_SECONDS": "1000"})


def test_replicas_must_share_a_master_key() -> None:
    """With PostgreSQL a key file beside one process would lock the others out of the signing keys."""
    with pytest.raises(SettingsError, match="AUTH_MASTER_KEY"):
        AuthSettings.load(POSTGRESQL)
    assert AuthSettings.load({**POSTGRESQL, "AUTH_MASTER_KEY": new_master_key()}).embedded_folder is None


def test_plain_http_beyond_loopback_is_explicit_and_told() -> None:
    """Contract, Settings: accepted for the named host only, and a warning in the log."""
    plain = {"AUTH_ISSUER": "http://auth:8001", "AUTH_RESOURCES": '{"http://resource:8002": ["data:read"]}'}
    with pytest.raises(SettingsError):
        AuthSettings.load({**plain, "AUTH_PLAIN_HTTP_HOSTS": '["auth"]'})
    settings = AuthSettings.load({**plain, "AUTH_PLAIN_HTTP_HOSTS": '["auth", "resource"]'})
    assert len(settings.warnings()) == 2


def test_no_secret_is_in_the_repr() -> None:
    """A setting that is printed by mistake shows no key and no database password."""
    key = new_master_key()
    url = "postgresql://signet:canary314@db.example/signet"
    shown = repr(AuthSettings.load({"AUTH_MASTER_KEY": key, "AUTH_DATABASE_URL": url}))
    assert key not in shown
    assert "canary314" not in shown
