"""The resource service's settings: defaults that run as they are, and what stops a start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resource_service.app import protected_resource
from resource_service.settings import ResourceSettings
from shared.settings import SettingsError


def load(**environ: str) -> ResourceSettings:
    return ResourceSettings.load({f"RESOURCE_{name}": value for name, value in environ.items()})


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(**environ)
    return refused.value.problems


def test_no_setting_is_needed() -> None:
    """The contract's defaults."""
    settings = ResourceSettings.load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8002)
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9002)
    assert (settings.identifier, settings.issuer, settings.jwks_uri) == (
        "http://localhost:8002",
        "http://localhost:8001",
        None,
    )
    assert settings.database_url.reveal() == "sqlite:///var/resource/resource.sqlite3"
    assert settings.accept_jwt_scheme
    assert (settings.max_items, settings.max_bytes) == (1_000, 16 * 1024 * 1024)
    assert settings.warnings() == []


def test_the_identifier_follows_the_port() -> None:
    """The audience is where the service is, unless it is set."""
    assert load(PORT="8005").identifier == "http://localhost:8005"
    assert load(PORT="8005", IDENTIFIER="https://api.example").identifier == "https://api.example"


@pytest.mark.parametrize("name", ["IDENTIFIER", "ISSUER"])
@pytest.mark.parametrize(
    "value", ["", "api.example", "http://api.example", "https://api.example/#x", "https://API.example"]
)
def test_an_empty_or_unsafe_identifier_or_issuer_stops_the_start(name: str, value: str) -> None:
    """Hostile cases, token validation, CVE-2026-55689: without an audience or an issuer there is no start."""
    assert [problem.split(":")[0] for problem in problems(**{name: value})] == [f"RESOURCE_{name}"]


@pytest.mark.parametrize(
    "value",
    ["", "http://a.example/lists", "https://u@a.example/lists", "https://a.example/a/../b", "https://a.example?x"],
)
def test_an_unsafe_address_of_status_lists_stops_the_start(value: str) -> None:
    """Of the first issuer and of the others: it is asked for whatever a token names below it."""
    assert [problem.split(":")[0] for problem in problems(STATUS_LIST_PREFIX=value)] == ["RESOURCE_STATUS_LIST_PREFIX"]
    other = json.dumps([{"issuer": "https://b.example", "status_list_prefix": value}])
    assert [problem.split(":")[0] for problem in problems(TRUSTED_ISSUERS=other)] == ["RESOURCE_TRUSTED_ISSUERS"]


def test_status_lists_are_followed_where_that_is_set() -> None:
    """Nowhere by default; a plain address only where the issuer's is plain as well."""
    assert load().status_list_prefix is None
    assert load(STATUS_LIST_PREFIX="http://localhost:8001/lists").status_list_prefix == "http://localhost:8001/lists"
    mixed = {"ISSUER": "https://a.example", "STATUS_LIST_PREFIX": "http://localhost/lists"}
    assert [problem.split(":")[0] for problem in problems(**mixed)] == ["RESOURCE_STATUS_LIST_PREFIX"]


@pytest.mark.parametrize(
    "value", ["", "file:///keys", "ftp://a.example/keys", "http://a.example/keys", "https://u:p@a.example/k"]
)
def test_an_unsafe_key_set_address_stops_the_start(value: str) -> None:
    """Hostile cases, JWKS fetch, CVE-2026-48522: only https, or http to loopback and named hosts."""
    assert [problem.split(":")[0] for problem in problems(JWKS_URI=value)] == ["RESOURCE_JWKS_URI"]


def test_a_key_set_address_may_have_a_query() -> None:
    """Some issuers' key sets are chosen by a query (RFC 7517 asks for any URL)."""
    assert load(JWKS_URI="https://a.example/keys?tenant=1").jwks_uri == "https://a.example/keys?tenant=1"


def test_plain_http_is_taken_for_named_hosts_and_said() -> None:
    """The explicit setting opens http for exactly its hosts, and each one in use is a warning."""
    settings = load(
        PLAIN_HTTP_HOSTS='["auth", "unused"]',
        JWKS_URI="http://auth:8001/keys",
        TRUSTED_ISSUERS='[{"issuer": "http://auth:9000"}]',
    )
    assert settings.warnings() == ["plain http is used for the host auth"]
    assert problems(PLAIN_HTTP_HOSTS='["auth"]', JWKS_URI="http://other:8001/keys")


def test_metrics_for_everybody_are_said() -> None:
    """Listening beyond loopback is a warning; sharing the port is refused."""
    assert load(METRICS_HOST="0.0.0.0").warnings() == [  # noqa: S104 - that is the point
        "the metrics are served beyond this machine, on 0.0.0.0"
    ]
    assert problems(METRICS_PORT="8002") == [
        "RESOURCE_METRICS_PORT: must not be RESOURCE_PORT: the metrics are not for those who use the service"
    ]


def test_more_issuers_can_be_trusted() -> None:
    """Each further issuer has members as the settings of the first."""
    further = [
        {"issuer": "https://a.example"},
        {"issuer": "https://b.example", "jwks_uri": "https://keys.b.example/k", "token_profile": "plain-jwt"},
        {"issuer": "https://c.example", "algorithms": ["ES256", "EdDSA"]},
    ]
    settings = load(TRUSTED_ISSUERS=json.dumps(further))
    assert [(each.issuer, each.jwks_uri, each.token_profile, each.algorithms) for each in settings.trusted_issuers] == [
        ("https://a.example", None, "rfc9068", ("RS256",)),
        ("https://b.example", "https://keys.b.example/k", "plain-jwt", ("RS256",)),
        ("https://c.example", None, "rfc9068", ("ES256", "EdDSA")),
    ]
    assert settings.warnings() == ["tokens that do not say that they are access tokens are accepted (plain-jwt)"]


@pytest.mark.parametrize(
    "issuers",
    [
        [{"issuer": "http://localhost:8001"}],
        [{"issuer": "https://a.example"}, {"issuer": "https://a.example"}],
        [{"issuer": "http://a.example"}],
        [{"issuer": "https://a.example", "jwks_uri": "http://a.example/keys"}],
        [{"issuer": "https://a.example", "verify": False}],
        [{"issuer": "https://a.example", "algorithms": []}],
        [{"issuer": "https://a.example", "algorithms": ["none"]}],
        [{"issuer": "https://a.example", "algorithms": ["HS256"]}],
        [{"jwks_uri": "https://a.example/keys"}],
        ["https://a.example"],
    ],
)
def test_issuers_that_cannot_be_trusted(issuers: list[object]) -> None:
    """Twice the same, unsafe addresses, secrets as keys and unknown members stop the start."""
    assert {problem.split(" ")[0].rstrip(":") for problem in problems(TRUSTED_ISSUERS=json.dumps(issuers))} == {
        "RESOURCE_TRUSTED_ISSUERS"
    }


@pytest.mark.parametrize("algorithms", ["[]", '["none"]', '["HS256"]', '["rs256"]', '"RS256"', "RS256"])
def test_only_asymmetric_algorithms_by_their_names(algorithms: str) -> None:
    """A list of registered signature algorithms, never a secret-key one (RFC 8725 section 3.1)."""
    assert problems(ALGORITHMS=algorithms)


@pytest.mark.parametrize(
    "origins", ['["null"]', '["*", "https://a.example"]', '["https://a.example/"]', '["http://a.example"]']
)
def test_origins_that_cannot_be_allowed(origins: str) -> None:
    """Hostile cases, HTTP layer: an origin is exact, and `null` is nobody's."""
    assert [problem.split(":")[0] for problem in problems(CORS_ORIGINS=origins)] == ["RESOURCE_CORS_ORIGINS"]


def test_origins_that_can_be_allowed() -> None:
    """Origins of a browser application, also one on this machine."""
    assert load(CORS_ORIGINS='["https://app.example", "http://localhost:3000"]').cors_origins
    assert load(CORS_ORIGINS='["*"]').cors_origins == ("*",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("LEEWAY_SECONDS", "61"),
        ("LEEWAY_SECONDS", "-1"),
        ("MAX_TOKEN_SECONDS", "0"),
        ("STALE_SECONDS", "86401"),
        ("MAX_ITEMS", "0"),
        ("MAX_BYTES", "0"),
        ("LOG_LEVEL", "loud"),
        ("ACCEPT_JWT_SCHEME", "maybe"),
        ("DATABASE_URL", "mysql://h/n"),
        ("DATABASE_URL", "sqlite://"),
        ("ISSUERS", "x"),
        ("TOKEN_PROFILE", "anything"),
    ],
)
def test_values_out_of_bounds_stop_the_start(name: str, value: str) -> None:
    """Each is named by its variable."""
    assert [problem.split(":")[0] for problem in problems(**{name: value})] == [f"RESOURCE_{name}"]


def test_all_problems_come_in_one_message() -> None:
    """One start tells everything that is wrong; only what hangs on a setting that is wrong itself waits for it."""
    found = problems(
        ISSUER="http://auth:1",
        CORS_ORIGINS='["null"]',
        DATABASE_URL="mysql://h/n",
        MAX_ITEMS="0",
        UNKNOWN="1",
        LOG_LEVEL_FILE="/nowhere",
    )
    assert [problem.split(":")[0].removeprefix("RESOURCE_") for problem in found] == [
        "CORS_ORIGINS",
        "DATABASE_URL",
        "ISSUER",
        "LOG_LEVEL_FILE",
        "MAX_ITEMS",
        "UNKNOWN",
    ]
    assert [problem.split(":")[0] for problem in problems(PLAIN_HTTP_HOSTS="auth", ISSUER="http://auth:1")] == [
        "RESOURCE_PLAIN_HTTP_HOSTS"
    ]


def test_the_key_sets_are_kept_beside_an_embedded_database() -> None:
    """With SQLite they lie in the same closed folder; with PostgreSQL none is kept unless a folder is named."""
    assert load(DATABASE_URL="sqlite:////srv/data/r.sqlite3").kept_key_sets == Path("/srv/data/key-sets")
    assert load(DATABASE_URL="postgresql://h/n").kept_key_sets is None
    assert load(DATABASE_URL="postgresql://h/n", KEY_SET_FOLDER="/srv/keys").kept_key_sets == Path("/srv/keys")


def test_what_was_revoked_is_kept_beside_an_embedded_database() -> None:
    """By the same rule as the key sets."""
    assert load(DATABASE_URL="sqlite:////srv/data/r.sqlite3").kept_revocations == Path("/srv/data/revocations")
    assert load(DATABASE_URL="postgresql://h/n").kept_revocations is None
    assert load(DATABASE_URL="postgresql://h/n", REVOCATION_FOLDER="/srv/r").kept_revocations == Path("/srv/r")


def test_the_databases_password_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Printing the settings, as a debugger or a log would, shows no secret."""
    settings = load(DATABASE_URL="postgresql://u:canary314@h/n")
    assert "canary314" not in repr(settings) + str(settings)


def test_keys_without_a_name_of_their_algorithm_get_one_of_those_accepted() -> None:
    """`alg` is optional in a key set (RFC 7517 section 4.4); which one is meant, the operator says."""
    settings = load(UNLABELLED_ALGORITHM="RS256")
    (issuer,) = protected_resource(settings).issuers
    assert issuer.unlabelled_algorithm == "RS256"
    assert problems(UNLABELLED_ALGORITHM="ES256")
    assert problems(UNLABELLED_ALGORITHM="none")
    assert load(ALGORITHMS='["ES256"]', UNLABELLED_ALGORITHM="ES256").unlabelled_algorithm == "ES256"
    other = {"issuer": "https://a.example", "algorithms": ["ES256"]}
    assert problems(TRUSTED_ISSUERS=json.dumps([{**other, "unlabelled_algorithm": "RS256"}]))
    settings = load(TRUSTED_ISSUERS=json.dumps([{**other, "unlabelled_algorithm": "ES256"}]))
    assert [issuer.unlabelled_algorithm for issuer in protected_resource(settings).issuers] == [None, "ES256"]
