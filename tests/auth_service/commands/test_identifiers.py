"""Key and session ids are base64url: one in 64 begins with a hyphen, and is no option for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auth_service.cli import main
from tests.auth_service.process import environment


@pytest.fixture
def folder(tmp_path: Path, prepared_folder: Path) -> Path:
    """The data of a service that has started once."""
    shutil.copytree(prepared_folder, tmp_path / "auth")
    return tmp_path / "auth"


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment(folder), input="")


@pytest.mark.parametrize("identifier", ["-ZABsP5FO5IY5xwhFaTQLJ1hBqCrgM4JQmAXUCpDEgE", "-h3", "--x", "-", "--json3"])
@pytest.mark.parametrize(
    "command",
    [
        ("keys", "revoke", "--yes"),
        ("sessions", "end"),
        ("sessions", "list"),
        ("sessions", "end-all"),
        ("users", "disable"),
        ("users", "enable"),
        ("users", "delete", "--yes"),
    ],
    ids=" ".join,
)
def test_an_identifier_that_begins_with_a_hyphen_is_none_the_less_one(
    folder: Path, command: tuple[str, ...], identifier: str
) -> None:
    """There is nothing of that name, and that is what is said, wherever it stands."""
    for arguments in ((*command, identifier), (*command, identifier, "--json"), (*command, "--", identifier)):
        result = invoke(folder, *arguments)
        assert result.exit_code == 1, result.output
        assert "no such option" not in result.output.lower()


@pytest.mark.parametrize("command", [("keys", "revoke", "--yes"), ("users", "disable")], ids=" ".join)
def test_a_mistyped_option_is_no_identifier_beside_one(folder: Path, command: tuple[str, ...]) -> None:
    """Two are one too many: 2, and nothing is done."""
    result = invoke(folder, *command, "some-id", "--jsn")
    assert result.exit_code == 2
    assert "--jsn" in result.output
