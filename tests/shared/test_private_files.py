"""Files and folders that only the service's own user can open."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.private_files import make_private_file, make_private_folder, write_private_file


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test under each umask; 0 takes nothing away."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_closed_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """A folder that is made, and every parent made with it, has mode 0700."""
    make_private_folder(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_files_are_closed_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """A file that is made has mode 0600, however it is made."""
    make_private_file(tmp_path / "data" / "empty")
    write_private_file(tmp_path / "data" / "kept", b"x", replace=False)
    write_private_file(tmp_path / "data" / "replaced", b"x", replace=True)
    assert [mode(tmp_path / "data" / name) for name in ("empty", "kept", "replaced")] == [0o600] * 3
    assert mode(tmp_path / "data") == 0o700


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    """An administrator's own modes and an existing file's content stay."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o750)
    (folder / "file").write_bytes(b"kept")
    make_private_folder(folder)
    make_private_file(folder / "file")
    assert (mode(folder), (folder / "file").read_bytes()) == (0o750, b"kept")


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """A folder cannot be made where a file stands, and that is said."""
    (tmp_path / "taken").touch()
    with pytest.raises(FileExistsError):
        make_private_folder(tmp_path / "taken")


def test_without_replace_the_first_writer_wins(tmp_path: Path) -> None:
    """An existing file is neither changed nor reported as written."""
    path = tmp_path / "key"
    assert write_private_file(path, b"first", replace=False)
    assert not write_private_file(path, b"second", replace=False)
    assert path.read_bytes() == b"first"


def test_replace_puts_the_new_content_in_one_step(tmp_path: Path) -> None:
    """With replace the new content stands there, with the mode of a private file."""
    path = tmp_path / "state"
    path.write_bytes(b"old")
    path.chmod(0o644)
    assert write_private_file(path, b"new", replace=True)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_of_many_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """Processes that make the same secret at the same moment all end up with one of them."""
    path = tmp_path / "master"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: write_private_file(path, bytes([n]) * 32, replace=False), range(32)))
    assert won.count(True) == 1
    assert path.read_bytes() == bytes([won.index(True)]) * 32


def test_no_draft_is_left_behind(tmp_path: Path) -> None:
    """Whether a write wins, loses or fails, only the file itself stays in the folder."""
    path = tmp_path / "state"
    write_private_file(path, b"1", replace=False)
    write_private_file(path, b"2", replace=False)
    write_private_file(path, b"3", replace=True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private_file(tmp_path / "folder", b"4", replace=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "state"]
