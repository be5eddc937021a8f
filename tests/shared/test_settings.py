"""Settings: read once from the environment, every problem told at once, no value ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from msgspec import field

from shared.settings import Port, Secret, Settings, SettingsError, check_url, is_loopback


def check_issuer(issuer: str, settings: Mapping[str, Any]) -> str:
    return check_url(issuer, plain_http_hosts=settings["plain_http_hosts"])


class Sample(Settings, frozen=True, kw_only=True):
    """A small service's settings."""

    prefix: ClassVar[str] = "SAMPLE_"
    derived: ClassVar = {"issuer": lambda settings: f"http://localhost:{settings['port']}"}
    checks: ClassVar = {"issuer": check_issuer}

    plain_http_hosts: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 8000
    issuer: str
    resources: dict[str, list[str]] = field(default_factory=dict)
    extra_origins: list[str] | None = None
    enabled: bool = True
    colour: Literal["red", "blue"] = "red"
    key: Secret | None = None


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        Sample.load(environ)
    return refused.value.problems


def test_nothing_set_is_the_defaults() -> None:
    """No setting is needed, and what belongs to others in the environment is not looked at."""
    settings = Sample.load({"PATH": "/bin", "OTHER_PORT": "x"})
    assert (settings.port, settings.issuer, settings.enabled) == (8000, "http://localhost:8000", True)


def test_a_default_follows_another_setting() -> None:
    """A default that is built from another setting uses what was set."""
    assert Sample.load({"SAMPLE_PORT": "9000"}).issuer == "http://localhost:9000"


def test_lists_and_objects_are_json() -> None:
    """Containers are given as JSON, optional ones too."""
    settings = Sample.load(
        {
            "SAMPLE_RESOURCES": '{"https://api.example": ["a", "b"]}',
            "SAMPLE_PLAIN_HTTP_HOSTS": '["auth"]',
            "SAMPLE_EXTRA_ORIGINS": '["https://app.example"]',
        }
    )
    assert settings.resources == {"https://api.example": ["a", "b"]}
    assert settings.plain_http_hosts == ("auth",)
    assert settings.extra_origins == ["https://app.example"]


def test_every_problem_is_named_at_once() -> None:
    """One message names every problem, a line each, with the variable."""
    found = problems(
        {
            "SAMPLE_PORT": "0",
            "SAMPLE_ISSUER": "http://auth.example",
            "SAMPLE_RESOURCES": "{",
            "SAMPLE_ENABLED": "perhaps",
            "SAMPLE_PROT": "1",
            "SAMPLE_HOST_FILE": "/nowhere/at/all",
        }
    )
    assert [problem.split(":")[0] for problem in found] == [
        "SAMPLE_ENABLED",
        "SAMPLE_HOST_FILE",
        "SAMPLE_ISSUER",
        "SAMPLE_PORT",
        "SAMPLE_PROT",
        "SAMPLE_RESOURCES",
    ]


def test_the_message_is_for_people() -> None:
    """The text begins with what it is about and has a line for each problem."""
    with pytest.raises(SettingsError, match=r"^cannot start.*\n  - SAMPLE_A: .*\n  - SAMPLE_B: .*$"):
        Sample.load({"SAMPLE_B": "", "SAMPLE_A": ""})


def test_a_default_that_waits_for_a_bad_setting_is_no_problem_of_its_own() -> None:
    """Only what was set wrongly is named, not the default that would have been built from it."""
    assert [problem.split(":")[0] for problem in problems({"SAMPLE_PORT": "x"})] == ["SAMPLE_PORT"]


@pytest.mark.parametrize(
    "environ",
    [
        {"SAMPLE_KEY": "canary-3141", "SAMPLE_PORT": "canary-3141"},
        {"SAMPLE_RESOURCES": "canary-3141"},
        {"SAMPLE_RESOURCES": '{"api": "canary-3141"}'},
        {"SAMPLE_RESOURCES": '{"canary-3141": [], "canary-3141": []}'},
        {"SAMPLE_ISSUER": "canary-3141"},
        {"SAMPLE_ENABLED": "canary-3141"},
        {"SAMPLE_COLOUR": "canary-3141"},
        {"SAMPLE_PLAIN_HTTP_HOSTS": '[{"canary-3141": 1}]'},
        {"SAMPLE_KEY": "1", "SAMPLE_KEY_FILE": "/canary-3141"},
        {"SAMPLE_KEY_FILE": "/canary-3141"},
        {"SAMPLE_KEY_FILE": "\0canary-3141"},
    ],
)
def test_a_value_is_never_echoed(environ: dict[str, str]) -> None:
    """Hostile cases, "secrets never in logs": a refused value, secret or not, is not in the message."""
    with pytest.raises(SettingsError) as refused:
        Sample.load(environ)
    text = str(refused.value) + repr(refused.value.problems)
    cause = refused.value.__cause__ or refused.value.__context__
    assert "canary-3141" not in text + (repr(cause) if not refused.value.__suppress_context__ else "")


def test_an_unknown_variable_under_the_prefix_is_refused() -> None:
    """A misspelt setting must not silently be the default."""
    assert problems({"SAMPLE_PROT": "1"}) == ["SAMPLE_PROT: there is no such setting; did you mean SAMPLE_PORT?"]


def test_the_unknown_name_file_is_refused() -> None:
    """The same for the file form of a name that is no setting."""
    assert problems({"SAMPLE_PROT_FILE": "/x"}) == ["SAMPLE_PROT_FILE: there is no such setting"]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_may_hold_the_value(tmp_path: Path, ending: str) -> None:
    """NAME_FILE names a file with the value; one line end at its end is not part of it."""
    file = tmp_path / "key"
    file.write_bytes(b" secret " + ending.encode())
    key = Sample.load({"SAMPLE_KEY_FILE": str(file)}).key
    assert key is not None
    assert key.reveal() == " secret "


def test_json_settings_may_be_in_a_file_too(tmp_path: Path) -> None:
    """Every setting has the file form."""
    (tmp_path / "resources").write_text('{"https://api.example": []}\n')
    assert Sample.load({"SAMPLE_RESOURCES_FILE": str(tmp_path / "resources")}).resources == {"https://api.example": []}


def test_value_and_file_together_are_refused(tmp_path: Path) -> None:
    """Which of the two counts must never be a guess, whichever comes first."""
    (tmp_path / "port").write_text("1")
    given = {"SAMPLE_PORT": "1", "SAMPLE_PORT_FILE": str(tmp_path / "port")}
    expected = ["SAMPLE_PORT: is given twice, by value and as SAMPLE_PORT_FILE"]
    assert problems(given) == problems(dict(reversed(given.items()))) == expected


@pytest.mark.parametrize("bad_value", ["", "x"])
def test_value_and_file_together_are_refused_also_when_one_is_bad(tmp_path: Path, bad_value: str) -> None:
    """A value that cannot be read does not hide that it was given twice."""
    (tmp_path / "resources").write_text("{}")
    found = problems({"SAMPLE_RESOURCES": bad_value, "SAMPLE_RESOURCES_FILE": str(tmp_path / "resources")})
    assert "SAMPLE_RESOURCES: is given twice, by value and as SAMPLE_RESOURCES_FILE" in found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x" * 65_537, "the file it names is larger than 65536 bytes"),
        (b"\xff\xfe", "the file it names is not UTF-8 text"),
    ],
)
def test_an_unfit_file_is_named_without_its_content(tmp_path: Path, content: bytes, problem: str) -> None:
    """A file that is too large or no text is refused."""
    (tmp_path / "key").write_bytes(content)
    assert problems({"SAMPLE_KEY_FILE": str(tmp_path / "key")}) == [f"SAMPLE_KEY_FILE: {problem}"]


def test_an_endless_file_does_not_fill_the_memory() -> None:
    """A file without an end is refused after the limit, not read to its end."""
    assert problems({"SAMPLE_KEY_FILE": "/dev/zero"}) == [
        "SAMPLE_KEY_FILE: the file it names is larger than 65536 bytes"
    ]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What cannot be read is said with the system's reason."""
    assert problems({"SAMPLE_KEY_FILE": str(tmp_path)}) == [
        "SAMPLE_KEY_FILE: the file it names cannot be read (Is a directory)"
    ]


def test_deeply_nested_json_is_a_problem_and_no_crash() -> None:
    """A setting of a hundred thousand brackets is refused like any other malformed one."""
    assert problems({"SAMPLE_RESOURCES": "[" * 100_000}) == ['SAMPLE_RESOURCES: must be JSON, such as {"a": ["b"]}']


def test_settings_are_frozen() -> None:
    """Settings are read once; nothing changes them afterwards."""
    with pytest.raises(AttributeError, match="immutable"):
        Sample.load({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104 - the point is that it is none
        ("localhost.example", False),
        ("notlocalhost", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(host: str, expected: bool) -> None:
    """Only `localhost` names and loopback addresses are this machine."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.example",
        "https://auth.example/tenant/1",
        "https://auth.example:8443",
        "http://localhost:8001",
        "http://127.0.0.1:8001",
        "http://[::1]:8001",
        "http://auth:8001",
    ],
)
def test_urls_that_are_taken_as_they_are(url: str) -> None:
    """An https URL, or http for loopback and the named hosts, is returned unchanged."""
    assert check_url(url, plain_http_hosts=("auth",)) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "auth.example",
        "//auth.example",
        "https://",
        "https:///path",
        "ftp://auth.example",
        "file:///etc/passwd",
        "http://auth.example",
        "http://auth.example@localhost",
        "http://localhost@auth.example",
        "https://user@auth.example",
        "https://user:pass@auth.example",
        "https://@auth.example",
        "https://auth.example?",
        "https://auth.example#",
        "https://auth.example?x=1",
        "https://auth.example#x",
        "https://AUTH.example",
        "HTTPS://auth.example",
        "https://auth.example:99999",
        "https://auth.example:x",
        "https://auth.example:",
        "https://auth.example/ ",
        " https://auth.example",
        "https://auth.example/\n",
        "https://auth\\example",
        "https://aüth.example",
        "https://[::1",
        "https://[zz]",
        "https://auth..example",
        "https://-",
        "http://auth.localhost.example",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """Anything else raises ValueError, and nothing but ValueError."""
    with pytest.raises(ValueError, match=r"^(must|has)"):
        check_url(url, plain_http_hosts=("auth",))


def test_a_path_can_be_refused() -> None:
    """Where only an origin makes sense a path is refused, also an empty one."""
    assert check_url("https://app.example", allow_path=False)
    for url in ("https://app.example/", "https://app.example/x"):
        with pytest.raises(ValueError, match="must not have a path"):
            check_url(url, allow_path=False)
