"""The engine of an SQLite file: how it is opened, and how a transaction takes the lock.

A write-ahead log, so readers and the writer do not wait for each other; a commit is on the disk before it is
acknowledged, unless its transaction says otherwise.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from time import perf_counter
from typing import cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from shared.private_files import make_private_file

CONNECTIONS = 3
"""One for each lane of `shared.database`."""
BUSY_SECONDS = 5.0
"""How long a statement waits for another process's lock before it counts as a failure."""
LOOK_SECONDS = 0.001
"""How often a writer looks whether that lock is free."""
WAL_LOOK_SECONDS = 0.05
"""The same for who opens the file."""


def open_engine(url: URL) -> Engine:
    """The engine for the file that `url` names; one that is missing is made (0600, in a 0700 folder).

    A transaction's execution options are heeded: `begin`, the statement that begins it, and `durable`.
    """
    make_private_file(Path(str(url.database)))
    # isolation_level None: the driver opens no transaction by itself; the "begin" event below does.
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=1,
        pool_use_lifo=True,  # what one connection has cached is used again
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_SECONDS},
    )
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def is_busy(error: object) -> bool:
    """Whether the driver's `error` says no more than that another process holds the lock."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def in_transaction(connection: Connection) -> bool:
    """Whether the transaction that was begun still stands: some failures, such as a full disk, undo it whole."""
    return _driver(connection).in_transaction


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    _enter_wal(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _enter_wal(connection: sqlite3.Connection) -> None:
    # Changing the journal mode does not wait for other processes as a statement does, so waiting is done here.
    deadline = BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or deadline <= 0:
                raise
            deadline -= WAL_LOOK_SECONDS
            time.sleep(WAL_LOOK_SECONDS)


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    # FULL: a commit is on the disk before it is acknowledged. NORMAL: the next one that is will take it there.
    wanted = "FULL" if options.get("durable", True) else "NORMAL"
    if connection.info.get("synchronous") != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous = {wanted}")
        connection.info["synchronous"] = wanted
    begin = options.get("begin", "BEGIN")
    if begin == "BEGIN":
        connection.exec_driver_sql(begin)
    else:
        # A writer takes the lock at once: an upgrade from read to write in the middle can only fail.
        _take_lock(connection, begin)


def _take_lock(connection: Connection, begin: str) -> None:
    # SQLite itself looks at a lock that is taken ever more seldom, every 0.1 s in the end: beside a process that pauses
    # for less than a millisecond between two transactions it could miss every pause.
    driver = _driver(connection)
    driver.execute("PRAGMA busy_timeout = 0")
    until = perf_counter() + BUSY_SECONDS
    try:
        while not _begins(connection, begin, is_last_try=perf_counter() > until):
            time.sleep(LOOK_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1_000)}")


def _begins(connection: Connection, begin: str, *, is_last_try: bool) -> bool:
    try:
        connection.exec_driver_sql(begin)
    except OperationalError as error:
        if is_last_try or not is_busy(error.orig):
            raise
        return False
    return True
