"""`backup` and `restore` of the auth service: what is typed and what is said. shared.sqlite_backup does it."""

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


def invoke(folder: Path, *arguments: str, **settings: str) -> Result:
    """A command, with a standard input that ends at once."""
    return CliRunner().invoke(main, arguments, env=environment(folder, **settings), input="")


def test_what_was_backed_up_is_brought_back(folder: Path, tmp_path: Path) -> None:
    """An account that was added since is gone again; the texts name the master key, which no backup holds."""
    backup = str(tmp_path / "a.sqlite3")
    done = invoke(folder, "backup", backup)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{backup}: ")
    assert done.stdout.endswith("The master key is not in it; keep a copy of that elsewhere.\n")
    assert invoke(folder, "users", "add", "ada", "--link").exit_code == 0
    done = invoke(folder, "restore", "--yes", backup)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{folder}/auth.sqlite3 is the backup now. It needs the master key it was made under.\n"
    assert invoke(folder, "users", "list").stdout == "nothing\n"


def test_what_cannot_be_done_is_said(folder: Path, tmp_path: Path) -> None:
    """Exit code 1 and a line on standard error; 2 where the database is no file."""
    backup = tmp_path / "a.sqlite3"
    backup.write_bytes(b"")
    for code, reason, arguments in (
        (1, f"{backup} exists; a backup is never overwritten\n", ("backup", str(backup))),
        (1, f"{backup} is not a backup of the auth service\n", ("restore", "--yes", str(backup))),
    ):
        done = invoke(folder, *arguments)
        assert (done.exit_code, done.stdout, done.stderr) == (code, "", reason)
    server = {"DATABASE_URL": "postgresql://x@127.0.0.1/x", "MASTER_KEY_FILE": f"{folder}/master.key"}
    done = invoke(folder, "backup", str(tmp_path / "b"), **server)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "this is for the embedded database; for PostgreSQL use pg_dump and pg_restore\n"


def test_nothing_is_restored_unless_it_was_confirmed(folder: Path, tmp_path: Path) -> None:
    """Whoever does not answer changes nothing."""
    assert invoke(folder, "backup", str(tmp_path / "a")).exit_code == 0
    before = (folder / "auth.sqlite3").read_bytes()
    assert invoke(folder, "restore", str(tmp_path / "a")).exit_code == 1
    assert (folder / "auth.sqlite3").read_bytes() == before
