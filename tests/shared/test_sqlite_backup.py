"""Backups of an embedded database: whole, private, and put back whole or not at all."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep

import pytest

from shared.sqlite_backup import BackupRefused, EmbeddedDatabase, NotEmbedded

SECONDS = 30
TABLES = frozenset({"accounts", "content"})
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def fill(path: Path, text: str, *, megabytes: int = 0) -> None:
    """A database as a service makes one: in WAL mode, with `text` in it, and so much beside it."""
    path.parent.mkdir(exist_ok=True)
    with opened(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE accounts (number INTEGER PRIMARY KEY, balance INTEGER)")
        connection.execute("INSERT INTO accounts VALUES (1, 0), (2, 0)")
        connection.execute("CREATE TABLE content (text TEXT, filler BLOB)")
        connection.execute("INSERT INTO content VALUES (?, NULL)", (text,))
        for _ in range(megabytes):
            connection.execute("INSERT INTO content VALUES ('filler', randomblob(1048576))")


def text_in(path: Path) -> str:
    """What `fill` put there, in a database that is sound."""
    with opened(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        text: str = connection.execute("SELECT text FROM content").fetchone()[0]
        return text


@pytest.fixture
def database(tmp_path: Path) -> EmbeddedDatabase:
    """One that holds `now`."""
    path = tmp_path / "data" / "service.sqlite3"
    fill(path, "now")
    return EmbeddedDatabase(path, "test's service", TABLES)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A backup that holds `former`."""
    fill(tmp_path / "former" / "service.sqlite3", "former")
    EmbeddedDatabase(tmp_path / "former" / "service.sqlite3", "test's service", TABLES).backup(tmp_path / "backup")
    return tmp_path / "backup"


def test_a_backup_is_one_private_file_with_everything(database: EmbeddedDatabase, tmp_path: Path) -> None:
    """Also what stands in the log of a service that runs; nothing else is left beside it."""
    with opened(database.path) as service:
        service.execute("UPDATE content SET text = 'a moment ago'")
        size = database.backup(tmp_path / "backups" / "a")
        assert (database.path.parent / "service.sqlite3-wal").stat().st_size > 0
    (file,) = (tmp_path / "backups").iterdir()
    assert (file.name, file.stat().st_size) == ("a", size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert text_in(file) == "a moment ago"
    assert [path.name for path in file.parent.iterdir()] == ["a"]


def test_a_backup_ends_and_is_of_one_instant_however_much_is_written(tmp_path: Path) -> None:
    """Both balances change in one transaction, again and again: a backup has both, and is not begun anew for each."""
    database = EmbeddedDatabase(tmp_path / "data" / "service.sqlite3", "test's service", TABLES)
    fill(database.path, "now", megabytes=24)
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        until = perf_counter() + SECONDS
        with opened(database.path) as connection:
            while not stop.is_set() and perf_counter() < until:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE accounts SET balance = balance + 1 WHERE number = 1")
                connection.execute("UPDATE accounts SET balance = balance - 1 WHERE number = 2")
                connection.execute("COMMIT")
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while written < 10:
            sleep(0.001)
        for number in range(3):
            before = written
            database.backup(tmp_path / f"{number}")
            with opened(tmp_path / f"{number}") as connection:
                (one,), (two,) = connection.execute("SELECT balance FROM accounts ORDER BY number").fetchall()
            assert one == -two
            assert one >= before
        assert writer.is_alive(), "the backup waited for the writer's end"
    finally:
        stop.set()
        writer.join()


def test_a_backup_is_never_overwritten(database: EmbeddedDatabase, tmp_path: Path) -> None:
    """A file that stands there stays, whatever it is."""
    (tmp_path / "a").write_text("something else")
    with pytest.raises(BackupRefused, match=r"a exists; a backup is never overwritten"):
        database.backup(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "something else"


def test_without_a_database_there_is_no_backup(tmp_path: Path) -> None:
    """And none is made by asking for one."""
    database = EmbeddedDatabase(tmp_path / "data" / "service.sqlite3", "test's service", TABLES)
    with pytest.raises(BackupRefused, match="there is no database at"):
        database.backup(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_not_backed_up(database: EmbeddedDatabase, tmp_path: Path) -> None:
    """What could not be restored is no backup: the damage is told, and nothing is left."""
    damage(database.path)
    with pytest.raises(BackupRefused, match=re.escape(f"{database.path} is damaged")):
        database.backup(tmp_path / "backups" / "a")
    assert list((tmp_path / "backups").iterdir()) == []


def test_a_restore_brings_back_what_was(database: EmbeddedDatabase, former: Path) -> None:
    """Nothing of what came after is left, in the file or in a log beside it; the backup stays."""
    before = former.read_bytes()
    database.restore(former)
    assert text_in(database.path) == "former"
    assert [path.name for path in database.path.parent.iterdir()] == ["service.sqlite3"]
    assert former.read_bytes() == before


def test_a_restore_makes_the_database_where_there_is_none(former: Path, tmp_path: Path) -> None:
    """On a new machine nothing is there yet; what is made is private."""
    database = EmbeddedDatabase(tmp_path / "new" / "service.sqlite3", "test's service", TABLES)
    database.restore(former)
    assert text_in(database.path) == "former"
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(database.path.parent.stat().st_mode) == 0o700


def damage(path: Path) -> None:
    """Make something of what a database has on its second page and after it."""
    content = bytearray(path.read_bytes())
    content[4_096:6_000] = b"\xff" * (6_000 - 4_096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damage, r"backup is damaged$"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:9_000]),
            r"backup is damaged$|database disk image is malformed$",
        ),
        (
            lambda file: file.write_bytes(b"this is no database" * 100),
            r"former database stands: file is not a database$",
        ),
        (lambda file: file.write_bytes(b""), r"backup is not a backup of the test's service$"),
        (lambda file: file.unlink(), r"there is no backup at .*backup$"),
    ],
    ids=["damaged", "cut off", "something else", "empty", "absent"],
)
def test_what_is_no_good_backup_is_not_restored(
    database: EmbeddedDatabase, former: Path, spoil: object, reason: str
) -> None:
    """It is looked at before anything is touched."""
    assert callable(spoil)
    spoil(former)
    with pytest.raises(BackupRefused, match=reason):
        database.restore(former)
    assert text_in(database.path) == "now"


def test_the_backup_of_another_service_is_not_restored(database: EmbeddedDatabase, former: Path) -> None:
    """A database is known by its tables."""
    other = EmbeddedDatabase(database.path, "other service", TABLES | {"sessions"})
    with pytest.raises(BackupRefused, match=r"backup is not a backup of the other service$"):
        other.restore(former)
    assert text_in(database.path) == "now"


@pytest.mark.parametrize("statement", ["SELECT * FROM content", "PRAGMA data_version"])
def test_nothing_is_restored_under_a_service_that_runs(
    database: EmbeddedDatabase, former: Path, statement: str
) -> None:
    """A connection that does nothing at the moment is enough; it goes on as before."""
    with opened(database.path) as service:
        service.execute(statement).fetchall()
        with pytest.raises(BackupRefused, match="the database is in use: stop the service first"):
            database.restore(former)
        service.execute("UPDATE content SET text = 'later'")
    assert text_in(database.path) == "later"


def test_no_service_starts_while_a_restore_is_at_it(database: EmbeddedDatabase) -> None:
    """From the check on, the database is the restore's alone."""
    with opened(database.path) as target, opened(database.path) as service:
        database._claim(target)
        service.execute("PRAGMA busy_timeout = 0")
        for statement in ("PRAGMA journal_mode = WAL", "SELECT * FROM content"):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                service.execute(statement).fetchall()


def test_a_damaged_database_is_moved_away_first(database: EmbeddedDatabase, former: Path) -> None:
    """Where it is no database any more, nothing can be told about who uses it: the text says what to do."""
    database.path.write_bytes(b"this was a database" * 1_000)
    with pytest.raises(BackupRefused, match=r"service\.sqlite3 is damaged: move it away, with the -wal"):
        database.restore(former)
    database.path.unlink()
    database.restore(former)
    assert text_in(database.path) == "former"


def test_an_interrupted_restore_leaves_the_former_database(tmp_path: Path) -> None:
    """Killed in the middle of the copy, it is as if nothing had been begun."""
    old, new = tmp_path / "old" / "service.sqlite3", tmp_path / "new" / "service.sqlite3"
    fill(old, "old", megabytes=24)
    fill(new, "new", megabytes=24)
    EmbeddedDatabase(new, "test's service", TABLES).backup(tmp_path / "backup")
    program = "import sys; from pathlib import Path; from shared.sqlite_backup import EmbeddedDatabase as E"
    program += "\nE(Path(sys.argv[1]), 'x', frozenset()).restore(Path(sys.argv[2]))"
    arguments = [sys.executable, "-c", program, str(old), str(tmp_path / "backup")]
    process = subprocess.Popen(arguments, cwd=ROOT)
    journal = old.with_name("service.sqlite3-journal")
    while not (journal.exists() and journal.stat().st_size > 0) and process.poll() is None:
        sleep(0.0005)
    process.kill()
    process.wait(SECONDS)
    # It was over before the kill, or nothing of it is there.
    assert text_in(old) == ("new" if process.returncode == 0 else "old")


def test_a_restore_that_finds_no_room_leaves_the_former_database(tmp_path: Path) -> None:
    """A full disk in the middle of the copy is told; what was there is there."""
    database = EmbeddedDatabase(tmp_path / "old" / "service.sqlite3", "test's service", TABLES)
    fill(database.path, "old", megabytes=1)
    fill(tmp_path / "new" / "service.sqlite3", "new", megabytes=8)
    EmbeddedDatabase(tmp_path / "new" / "service.sqlite3", "test's service", TABLES).backup(tmp_path / "backup")
    program = (
        "import resource, signal, sys; from pathlib import Path; from shared.sqlite_backup import EmbeddedDatabase as E"
    )
    program += (
        "\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20,) * 2)"
    )
    program += "\nE(Path(sys.argv[1]), 'x', frozenset()).restore(Path(sys.argv[2]))"
    arguments = [sys.executable, "-c", program, str(database.path), str(tmp_path / "backup")]
    finished = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "BackupRefused: the restore failed, the former database stands: " in finished.stderr
    assert text_in(database.path) == "old"


def test_a_server_has_programs_of_its_own() -> None:
    """No file, no backup here; the text names what to use."""
    with pytest.raises(NotEmbedded, match="pg_dump and pg_restore"):
        EmbeddedDatabase.at("postgresql://ann@db.example/name", service="test's service", tables=TABLES)
    assert EmbeddedDatabase.at("sqlite:///var/a", service="s", tables=TABLES).path == Path("var/a")
