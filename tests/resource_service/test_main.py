"""`python -m resource_service` as an operator meets it: a real process, its output and its exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.clock import SystemClock
from tests.end_to_end.deployment import free_ports
from tests.issuer import LocalIssuer
from tests.resource_service.process import ROOT, SECONDS, answering, run, serving
from tests.wire import exchange

COMMANDS = {"serve", "check-settings", "backup", "restore", "erase"}


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """`--help` says what can be done and where the settings are explained."""
    finished = run(tmp_path, "--help")
    assert finished.returncode == 0
    assert set(finished.stdout.split()) >= COMMANDS
    assert "RESOURCE_" in finished.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    """`COMMAND -h` needs no settings and makes nothing."""
    finished = run(tmp_path, command, "-h", PORT="nonsense")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith(f"usage: python -m resource_service {command} [-h]")
    assert list(tmp_path.iterdir()) == []


def test_help_and_checks_need_no_web_server(tmp_path: Path) -> None:
    """A command imports what it needs and no more."""
    program = "import sys; from resource_service.__main__ import main; main(['check-settings'], {})"
    program += "; sys.exit(bool({'aiohttp', 'alembic'} & set(sys.modules)))"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=SECONDS, check=False
    )
    assert finished.returncode == 0


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("--verbose",), ("serve", "more"), ("backup",), ("restore", "--yes"), ("erase",)]
)
def test_an_unknown_command_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 2, with the usage on stderr."""
    finished = run(tmp_path, *arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("usage:")


@pytest.mark.parametrize(
    "arguments",
    [(), ("serve",), ("check-settings",), ("backup", "a"), ("restore", "a", "--yes"), ("erase", "ann", "--yes")],
)
def test_settings_that_allow_no_start_are_said_and_nothing_else(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Every problem on stderr, exit code 2, no value shown, nothing opened or made."""
    finished = run(tmp_path, *arguments, PORT="canary314", ISSUER="http://canary314.example", TYPO="canary314")
    assert (finished.returncode, finished.stdout) == (2, "")
    lines = finished.stderr.splitlines()
    assert [line.split(":")[0].strip(" -") for line in lines[1:]] == [
        "RESOURCE_ISSUER",
        "RESOURCE_PORT",
        "RESOURCE_TYPO",
    ]
    assert "canary314" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_can_be_checked_without_a_start(tmp_path: Path) -> None:
    """`check-settings` shows what is worth a look and makes nothing."""
    finished = run(tmp_path, "check-settings", PLAIN_HTTP_HOSTS='["auth"]', JWKS_URI="http://auth:8001/keys")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "note: plain http is used for the host auth\nthe settings allow a start\n"
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    """Exit code 1 and a reason for people."""
    (tmp_path / "resource.sqlite3").write_bytes(b"this is no database" * 100)
    finished = run(tmp_path)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.splitlines()[-1].startswith("cannot start: The database cannot be opened.")
    assert "Traceback" not in finished.stderr


async def test_it_says_when_it_is_ready_and_logs_json_without_secrets(tmp_path: Path) -> None:
    """One ready line on stdout; JSON lines on stderr, in which no token and no value ever stands; exit code 0."""
    port, metrics_port = free_ports(2)
    identifier = f"http://localhost:{port}"
    async with LocalIssuer(SystemClock()).running() as issuer:
        settings = {"PORT": str(port), "METRICS_PORT": str(metrics_port), "ISSUER": issuer.url, "ACCESS_LOG": "true"}
        with serving(tmp_path, **settings, LOG_LEVEL="debug") as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            assert ready == f"resource service ready on http://localhost:{port} (accepts tokens of {issuer.url})\n"
            await answering(port)
            token = issuer.token("ann", audience=identifier)
            stranger = issuer.token("ann", audience="https://other.example")
            for sent in (token, stranger, f"{token}x"):
                head = f"Host: x\r\nAuthorization: Bearer {sent}\r\nContent-Type: application/json\r\n"
                body = '"canary314"'
                put = f"PUT /userData/a?access_token={sent} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
                await exchange(port, put.encode())
            assert (await exchange(port, f"GET {token} HTTP/1.1\r\nno header\r\n\r\n".encode())).status == 400
            assert (await exchange(metrics_port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output) == (0, "")
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {line["service"] for line in lines} == {"resource"}
    assert [line["status"] for line in lines if line["event"] == "request"].count(201) == 1
    for secret in (token, token.split(".")[2], stranger.split(".")[2], "canary314"):
        assert secret not in errors


@pytest.mark.slow
def test_two_processes_start_together_on_one_database(tmp_path: Path) -> None:
    """One migrates, the other waits; both become ready."""
    ports = free_ports(4)
    starts = [{"PORT": str(ports[number]), "METRICS_PORT": str(ports[number + 2])} for number in range(2)]
    with serving(tmp_path, **starts[0]) as first, serving(tmp_path, **starts[1]) as second:
        for process in (first, second):
            assert process.stdout is not None
            assert process.stdout.readline().startswith("resource service ready")
            process.terminate()
        errors = [process.communicate(timeout=SECONDS)[1] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert sum(text.count("schema_migrated") for text in errors) == 1
