"""`backup`, `restore` and `erase` as an operator types them, beside a service that runs."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from resource_service.user_data.item import Owner, Quota
from resource_service.user_data.preconditions import UNCONDITIONAL
from resource_service.user_data.store import MIGRATIONS, ItemStore
from shared.clock import SystemClock
from shared.database import Database
from shared.database_version import DatabaseVersion
from tests.end_to_end.deployment import free_ports
from tests.issuer import LocalIssuer
from tests.lent_databases import bring_schema
from tests.resource_service.process import SECONDS, answering, environment, run, serving
from tests.wire import Reply, exchange

ISSUER = "https://id.example"
ANN = Owner(ISSUER, "ann")


@dataclass(frozen=True, slots=True)
class Running:
    """The service as a process, and those who call it."""

    port: int
    issuer: LocalIssuer
    process: subprocess.Popen[str]

    async def call(self, subject: str, method: str, path: str = "/userData", body: str = "") -> Reply:
        token = self.issuer.token(subject, audience=f"http://localhost:{self.port}")
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return await exchange(self.port, f"{head}\r\n{body}".encode())

    async def everything(self, subject: str) -> object:
        reply = await self.call(subject, "GET")
        assert reply.status == 200
        return reply.json()["data"]

    async def put(self, subject: str, name: str, value: object) -> None:
        assert (await self.call(subject, "PUT", f"/userData/{name}", json.dumps(value))).status in (201, 204)


@asynccontextmanager
async def running(folder: Path, issuer: LocalIssuer) -> AsyncIterator[Running]:
    """The service, ready, with its data in `folder`; stopped in an orderly way."""
    port, metrics_port = free_ports(2)
    settings = {"PORT": str(port), "METRICS_PORT": str(metrics_port), "ISSUER": issuer.url}
    with serving(folder, **settings) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("resource service ready")
        await answering(port)
        yield Running(port, issuer, process)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.communicate, timeout=SECONDS)
        assert process.returncode == 0


@pytest.fixture
async def real_issuer() -> AsyncIterator[LocalIssuer]:
    """An issuer in real time."""
    async with LocalIssuer(SystemClock()).running() as issuer:
        yield issuer


async def command(folder: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command without a terminal."""
    finished = await asyncio.to_thread(run, folder, *arguments, **settings)
    return finished.returncode, finished.stdout, finished.stderr


async def fill(url: str, owner: Owner, **values: bytes) -> None:
    """Put items into a database that no service runs on."""
    database = Database.open(url)
    store = ItemStore(database, DatabaseVersion(None), Quota(100, 100_000), SystemClock())
    for name, value in values.items():
        await store.put(owner, name, value, UNCONDITIONAL)
    await database.close()


def stored(file: Path) -> list[tuple[str, str, bytes]]:
    """What a sound database holds."""
    connection = sqlite3.connect(file)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        of_owner = "items JOIN owners ON owners.id = items.owner_id"
        return connection.execute(f"SELECT subject, name, value FROM {of_owner} ORDER BY 1, 2").fetchall()  # noqa: S608
    finally:
        connection.close()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """The data of a service that has stopped: an item of Ann's."""
    url = f"sqlite:///{tmp_path}/resource.sqlite3"
    bring_schema(MIGRATIONS, url)
    await fill(url, ANN, a=b"1")
    return tmp_path


def at_terminal(folder: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Exit code and everything shown on a terminal at which `answer` is typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "resource_service", *arguments],
        cwd=folder,
        env=environment(folder, ISSUER=ISSUER),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(theirs)
    try:
        os.write(ours, answer.encode())
        output, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return process.returncode, output


# Backup and restore.


async def test_a_backup_is_made_while_the_service_writes_and_put_back_while_it_stands(
    tmp_path: Path, real_issuer: LocalIssuer
) -> None:
    """Everything that was acknowledged before the backup is in it, and what came later is gone after the restore."""
    backup = tmp_path / "backups" / "a.sqlite3"
    async with running(tmp_path, real_issuer) as service:
        await service.put("ann", "a", "before")
        writing = asyncio.create_task(write_on(service))
        done = await command(tmp_path, "backup", str(backup))
        assert not writing.done()
        writing.cancel()
        await service.put("ann", "a", "after")
        assert done == (0, f"{backup}: {backup.stat().st_size:,} bytes\n", "")
        refused = await command(tmp_path, "restore", "--yes", str(backup))
        assert refused == (1, "", "the database is in use: stop the service first\n")
        assert await service.everything("ann") == {"a": "after"}
    assert ("ann", "a", b'"before"') in stored(backup)
    # A writer replaces its first item before its second: at no instant is the second one ahead.
    numbers = {name: int(value) for subject, name, value in stored(backup) if subject == "bob"}
    assert numbers.get("first", 0) - numbers.get("second", 0) in (0, 1)
    done = await command(tmp_path, "restore", "--yes", str(backup))
    assert done == (0, f"{tmp_path}/resource.sqlite3 is the backup now\n", "")
    async with running(tmp_path, real_issuer) as service:
        assert await service.everything("ann") == {"a": "before"}


async def write_on(service: Running) -> None:
    """Bob's two items, one after the other, without end."""
    number = 0
    while True:
        number += 1
        await service.put("bob", "first", number)
        await service.put("bob", "second", number)


async def test_what_is_no_backup_of_this_service_is_refused(folder: Path) -> None:
    """Damaged, of something else, not there, or in the way: exit code 1, a line, and nothing is changed."""
    before = stored(folder / "resource.sqlite3")
    (folder / "other").write_bytes(b"no database at all" * 100)
    foreign = sqlite3.connect(folder / "foreign")
    foreign.execute("CREATE TABLE alembic_version (version_num TEXT)")
    foreign.close()
    for arguments, reason in (
        (("restore", "--yes", "other"), "the restore failed, the former database stands: file is not a database\n"),
        (("restore", "--yes", "foreign"), "foreign is not a backup of the resource service\n"),
        (("restore", "--yes", "absent"), "there is no backup at absent\n"),
        (("backup", "other"), "other exists; a backup is never overwritten\n"),
    ):
        assert await command(folder, *arguments) == (1, "", reason)
    assert stored(folder / "resource.sqlite3") == before


@pytest.mark.parametrize("arguments", [("backup", "a"), ("restore", "--yes", "a"), ("restore", "a")])
async def test_a_server_has_programs_of_its_own(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 2 with PostgreSQL: the settings are not for this command."""
    code, output, errors = await command(tmp_path, *arguments, DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert (code, output) == (2, "")
    assert errors == "this is for the embedded database; for PostgreSQL use pg_dump and pg_restore\n"


# Being asked.


@pytest.mark.parametrize("arguments", [("restore", "backup"), ("erase", "ann")])
async def test_nobody_is_taken_to_have_agreed(folder: Path, arguments: tuple[str, ...]) -> None:
    """Without a terminal exit code 2; at one, anything but yes is no, and exit code 1."""
    assert run(folder, "backup", "backup").returncode == 0
    await fill(f"sqlite:///{folder}/resource.sqlite3", ANN, b=b"2")
    before = stored(folder / "resource.sqlite3")
    code, output, errors = await command(folder, *arguments, ISSUER=ISSUER)
    assert (code, output) == (2, "")
    assert "--yes" in errors
    for answer in ("yes, but\n", "\x04"):
        code, shown = await asyncio.to_thread(at_terminal, folder, answer, *arguments)
        assert (code, shown.endswith("nothing was changed\n")) == (1, True), shown
    assert stored(folder / "resource.sqlite3") == before
    code, shown = await asyncio.to_thread(at_terminal, folder, "y\n", *arguments)
    assert code == 0, shown
    assert stored(folder / "resource.sqlite3") == ([("ann", "a", b"1")] if arguments[0] == "restore" else [])


# Erasure.


async def test_an_erasure_is_seen_by_the_running_service_at_once(tmp_path: Path, real_issuer: LocalIssuer) -> None:
    """What was read a moment ago is not given again; others keep theirs, and the owner may begin anew."""
    async with running(tmp_path, real_issuer) as service:
        for subject in ("ann", "bob"):
            await service.put(subject, "a", "canary314")
            await service.put(subject, "b", 2)
        for _ in range(3):
            assert await service.everything("ann") == {"a": "canary314", "b": 2}
            assert (await service.call("ann", "GET", "/userData/a")).status == 200
        done = await command(tmp_path, "erase", "ann", "--yes", ISSUER=real_issuer.url)
        said = f"erased what belonged to ann at {real_issuer.url}: 2 items, 14 bytes\n"
        assert done == (0, said, "")
        assert await service.everything("ann") == {}
        assert (await service.call("ann", "GET", "/userData/a")).status == 404
        assert await service.everything("bob") == {"a": "canary314", "b": 2}
        await service.put("ann", "a", "again")
        assert await service.everything("ann") == {"a": "again"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind in turn, with the tables."""
    url = f"sqlite:///{tmp_path}/resource.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    bring_schema(MIGRATIONS, url)
    return url


async def test_an_owner_is_a_subject_of_one_issuer(database_url: str, tmp_path: Path) -> None:
    """The issuer is the one of the settings unless it is named, and need not be trusted any more."""
    former = Owner("https://former.example", "-ann")
    await fill(database_url, ANN, a=b"1")
    await fill(database_url, former, a=b"1", b=b"")
    settings = {"DATABASE_URL": database_url, "ISSUER": ISSUER}
    for arguments, expected in (
        (("--yes", "--", "-ann"), (1, "", f"there is nothing of -ann at {ISSUER}\n")),
        (("ann", "--yes"), (0, f"erased what belonged to ann at {ISSUER}: 1 item, 2 bytes\n", "")),
        (("ann", "--yes"), (1, "", f"there is nothing of ann at {ISSUER}\n")),
        (
            ("--issuer", former.issuer, "--yes", "--", "-ann"),
            (0, f"erased what belonged to -ann at {former.issuer}: 2 items, 3 bytes\n", ""),
        ),
    ):
        assert await command(tmp_path, "erase", *arguments, **settings) == expected


async def test_nothing_is_made_where_there_is_no_database(tmp_path: Path) -> None:
    """An erasure in the wrong place says so: no file, or one that no service of this release has started on."""
    code, output, errors = await command(tmp_path, "erase", "ann", "--yes")
    assert (code, output) == (1, "")
    assert errors.startswith(f"there is no database at {tmp_path}/resource.sqlite3: ")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "resource.sqlite3").touch()
    code, output, errors = await command(tmp_path, "erase", "ann", "--yes")
    assert (code, output) == (1, "")
    assert errors == "the database's schema is not this release's: start the service once to bring it there\n"


async def test_a_database_that_cannot_be_reached_is_said_in_a_line(tmp_path: Path) -> None:
    """Exit code 1, a reason, no traceback and no password of the URL."""
    url = "postgresql://signet:canary314@127.0.0.1:1/signet"
    code, output, errors = await command(tmp_path, "erase", "ann", "--yes", DATABASE_URL=url)
    assert (code, output) == (1, "")
    assert errors.startswith("failed, a part may be gone, so run it again: The database cannot be opened. ")
    assert len(errors.splitlines()) == 1
    assert "canary314" not in errors
