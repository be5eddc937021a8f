"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, a fresh database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.deployment import free_ports
from tests.engines import require_engine

START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A server, reached on a loopback port; `user` is who it runs as, None for ourselves."""

    programs: Path
    port: int
    folder: Path
    user: pwd.struct_passwd | None

    def create_cluster(self) -> None:
        """Make its data."""
        words = ["-U", "signet", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        _run(self.user, self.programs / "initdb", "-D", self._data, *words)

    def start(self, *, durable: bool = False) -> None:
        """Start it and wait until it answers. Not durable unless asked for: tests need no disk to be waited for."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += " -c max_connections=100"
        if not durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        log = self.folder / "log"
        _run(self.user, self.programs / "pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it, if it runs: `fast` ends every connection and keeps what is committed, `immediate` may lose some."""
        if (self._data / "postmaster.pid").exists():
            _run(self.user, self.programs / "pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make an empty database, or a copy of `template`, and return its URL."""
        connection = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "signet")
        subprocess.run(
            [self.programs / "createdb", *connection, "-T", template, name],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql+psycopg://signet@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        """Remove a database, with whatever is still connected to it."""
        subprocess.run(
            [self.programs / "dropdb", "--force", "-h", "127.0.0.1", "-p", str(self.port), "-U", "signet", name],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl, the newest version first; Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name), reverse=True
    )
    return versions[0].parent if versions else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """One server for the whole run, gone at its end."""
    require_engine("PostgreSQL", find_programs() is not None)
    with running_postgresql() as server:
        yield server


@contextlib.contextmanager
def running_postgresql(*, durable: bool = False) -> Iterator[PostgreSQL]:
    """A server with a new cluster, gone at the end."""
    programs = find_programs()
    assert programs is not None
    # Not pytest's temporary folder: the server runs as another user, who may not pass through root's folders.
    server = PostgreSQL(
        programs, free_ports(1)[0], Path(tempfile.mkdtemp(prefix="signet-postgresql-")), _unprivileged_user()
    )
    if server.user is not None:
        os.chown(server.folder, server.user.pw_uid, server.user.pw_gid)
    try:
        server.create_cluster()
        server.start(durable=durable)
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(server.folder)


_numbers = itertools.count(1)


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    """The URL of an empty database that only this test sees."""
    name = f"test_{next(_numbers)}"
    yield postgresql.create_database(name)
    postgresql.drop_database(name)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root; anybody else runs it as themselves (None)."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _run(user: pwd.struct_passwd | None, *command: str | Path) -> None:
    finished = subprocess.run(
        [str(word) for word in command],
        user=None if user is None else user.pw_uid,
        group=None if user is None else user.pw_gid,
        extra_groups=None if user is None else [],
        cwd="/",
        stdin=subprocess.DEVNULL,
        # Not captured through a pipe: the server started by pg_ctl would hold its other end open.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=START_SECONDS,
        check=False,
    )
    if finished.returncode != 0:
        pytest.fail(f"{Path(command[0]).name} ended with {finished.returncode}")
