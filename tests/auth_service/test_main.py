"""`python -m auth_service` as an operator meets it: a real process, its output and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auth_service.cli import main
from auth_service.keys.sealing import new_master_key
from tests.auth_service.process import Serving, environment, run, serving, taken_port
from tests.end_to_end.http import call

CANARY = "canary314"
COMMANDS = {"serve", "users", "sessions", "keys", "audit", "backup", "restore", "doctor"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the service keeps its data; not there yet."""
    return tmp_path / "data"


def invoke(folder: Path, *arguments: str, **settings: str) -> Result:
    """A command that stops before anything is opened, in this process: starting one takes longer than all of it."""
    return CliRunner().invoke(main, arguments, env=environment(folder, **settings))


def test_help_lists_the_commands(folder: Path) -> None:
    """`--help` says what can be done and where the settings are explained; nothing is made."""
    finished = run(folder, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert set(finished.stdout.split()) >= COMMANDS
    assert ".env.example" in finished.stdout
    assert not folder.exists()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(folder: Path, command: str) -> None:
    """`COMMAND --help` needs no settings and makes nothing."""
    shown = invoke(folder, command, "--help", PORT="nonsense")
    assert shown.exit_code == 0
    assert f"{command} [OPTIONS]" in shown.output
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [("nonsense",), ("--verbose",), ("serve", "more"), ("keys", "nonsense")])
def test_an_unknown_command_is_refused(folder: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 2, with the usage on stderr."""
    finished = invoke(folder, *arguments)
    assert (finished.exit_code, finished.stdout) == (2, "")
    assert finished.stderr.startswith("Usage:")
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [(), ("serve",), ("users", "list"), ("keys", "list"), ("audit",), ("doctor",)])
def test_settings_that_allow_no_start_are_said_and_nothing_else(folder: Path, arguments: tuple[str, ...]) -> None:
    """Every problem in one message on stderr, exit code 2, no value shown, nothing opened or made."""
    wrong = {
        "PORT": CANARY,
        "ISSUER": f"http://{CANARY}.example",
        "MASTER_KEY": f"{CANARY}-is-not-a-key",
        "KEY_BITS": "1024",
        "ACCESS_TOKEN_SECONDS": "901",
        "TYPO": CANARY,
    }
    finished = invoke(folder, *arguments, **wrong)
    assert (finished.exit_code, finished.stdout) == (2, "")
    lines = finished.stderr.splitlines()
    assert [line.split(":")[0].strip(" -") for line in lines[1:]] == sorted(f"AUTH_{name}" for name in wrong)
    assert CANARY not in finished.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    "placeholder",
    [
        "changeme",
        "change-me-please-change-me-please-change-me",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "0000000000000000000000000000000000000000000=",
        "c2VjcmV0",
    ],
)
def test_a_placeholder_for_the_master_key_stops_the_start(folder: Path, placeholder: str) -> None:
    """Hostile cases, CVE-2026-44523, CVE-2025-30206: not 256 random bits: refused, with how to make some."""
    finished = invoke(folder, MASTER_KEY=placeholder)
    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "AUTH_MASTER_KEY" in finished.stderr
    assert "openssl rand -base64 32" in finished.stderr
    assert placeholder not in finished.stderr
    assert not folder.exists()


def test_another_master_key_is_said_in_a_line(folder: Path) -> None:
    """Exit code 1, both ids, what to do, neither key and no traceback; with the right one it starts again."""
    right, wrong = new_master_key(), new_master_key()
    with serving(folder, MASTER_KEY=right) as service:
        assert service.stop() == 0
    finished = run(folder, MASTER_KEY=wrong)
    assert (finished.returncode, finished.stdout) == (1, "")
    message = finished.stderr.splitlines()[-1]
    assert message.startswith("cannot start: the signing key ")
    assert "keys reseal" in message
    assert "Traceback" not in finished.stderr
    assert right not in finished.stderr
    assert wrong not in finished.stderr
    with serving(folder, MASTER_KEY=right) as service:
        assert service.stop() == 0


def test_a_taken_port_is_said_in_a_line(folder: Path) -> None:
    """Exit code 1 and the address, no traceback."""
    with taken_port() as port:
        finished = run(folder, PORT=str(port))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.splitlines()[-1].startswith(f"cannot start: cannot listen on 127.0.0.1:{port}")
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////proc/nowhere/auth.sqlite3",
        "postgresql://signet:canary314@127.0.0.1:1/signet",
    ],
)
def test_a_database_that_cannot_be_reached_is_said_in_a_line(folder: Path, url: str) -> None:
    """Exit code 1, a reason for people, no password of the URL."""
    finished = run(folder, DATABASE_URL=url, MASTER_KEY=new_master_key())
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.splitlines()[-1].startswith("cannot start: ")
    assert "Traceback" not in finished.stderr
    assert CANARY not in finished.stderr


def test_a_file_that_is_no_database_is_said_in_a_line(folder: Path) -> None:
    """What stands there is left as it is."""
    folder.mkdir(mode=0o700)
    content = b"this is no database " * 100
    (folder / "auth.sqlite3").write_bytes(content)
    finished = run(folder)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.splitlines()[-1].startswith("cannot start: ")
    assert "Traceback" not in finished.stderr
    assert (folder / "auth.sqlite3").read_bytes() == content


@pytest.mark.slow
def test_two_processes_start_together_on_one_folder(folder: Path, tmp_path: Path) -> None:
    """One migrates, makes the master key and the signing key; the other waits, and both sign with that."""
    url = f"sqlite:///{folder}/auth.sqlite3"
    services = []
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            services.append(Serving(tmp_path / name / "data", {"DATABASE_URL": url}))
        for service in services:
            service.wait_until_ready()
        first, second = (call("GET", f"http://127.0.0.1:{each.port}/.well-known/jwks.json").json() for each in services)
        assert first == second
        assert len(first["keys"]) == 1
        assert [service.stop() for service in services] == [0, 0]
    finally:
        for service in services:
            service.process.kill()
            service.process.wait()
    events = [json.loads(line)["event"] for service in services for line in service.errors.splitlines()]
    assert events.count("signing_key_introduced") == 1
