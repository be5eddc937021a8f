"""Accounts and sessions by the thousand, put straight into the tables; every session's first token is known."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice

import argon2
from sqlalchemy import make_url

from auth_service.identity.passwords import OWASP_ARGON2ID
from auth_service.model.account import Account, AccountState
from auth_service.model.refresh_token import RefreshToken
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from tests.bench.clients import PASSWORD

ACCOUNTS = 200
DAY_SECONDS = 86_400
BATCH = 20_000
COLUMNS = [
    "sid",
    "sub",
    "client_id",
    "scope",
    "audience",
    "auth_time",
    "amr",
    "acr",
    "address",
    "user_agent",
    "opened_at",
    "last_used_at",
    "idle_expires_at",
    "expires_at",
    "handle_hash",
    "newest_hash",
    "generation",
]


def subject(number: int) -> str:
    """The subject of an account, which is its name, too."""
    return f"bench-{number % ACCOUNTS}"


def first_token(number: int) -> RefreshToken:
    """The first token of a session."""
    drawn = hashlib.sha512(number.to_bytes(8, "big")).digest()
    return RefreshToken(drawn[:16], drawn[16:48])


async def add_accounts(database_url: str) -> None:
    """Accounts that share one password."""
    password_hash, now = argon2.PasswordHasher.from_parameters(OWASP_ARGON2ID).hash(PASSWORD), time.time()
    accounts = [
        Account(name, name, name, name, password_hash, None, False, None, AccountState.ACTIVE, now, now)
        for name in map(subject, range(ACCOUNTS))
    ]
    database = Database.open(database_url)
    await SqlStorage(database).write(lambda records: [records.accounts.add(account) for account in accounts])
    await database.close()


def add_sessions(database_url: str, first: int, last: int, *, seconds: float) -> int:
    """Add the sessions `first` to `last`, in batches, for so many seconds at most; how many there are then."""
    rows, until, stored = _rows(first, last, time.time()), time.monotonic() + seconds, first
    add = _sqlite if database_url.startswith("sqlite") else _postgresql
    while stored < last and time.monotonic() < until:
        stored += add(database_url, list(islice(rows, BATCH)))
    return stored


def _rows(first: int, last: int, now: float) -> Iterator[tuple[object, ...]]:
    grant = ("first-party", "data:read data:write", "http://localhost:8002", int(now), "pwd", "1", "192.0.2.7", "bench")
    times = (now, now, now + 14 * DAY_SECONDS, now + 90 * DAY_SECONDS)
    for number in range(first, last):
        token = first_token(number)
        yield (f"{number:022}", subject(number), *grant, *times, token.handle_hash, token.secret_hash, 0)


def _sqlite(database_url: str, rows: list[tuple[object, ...]]) -> int:
    places = ", ".join("?" * len(COLUMNS))
    with sqlite3.connect(str(make_url(database_url).database)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        connection.executemany(f"INSERT INTO sessions ({', '.join(COLUMNS)}) VALUES ({places})", rows)  # noqa: S608
    connection.close()
    return len(rows)


def _postgresql(database_url: str, rows: list[tuple[object, ...]]) -> int:
    import psycopg

    with (
        psycopg.connect(database_url.replace("+psycopg", "")) as connection,
        connection.cursor() as cursor,
        cursor.copy(f"COPY sessions ({', '.join(COLUMNS)}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
    return len(rows)


def settle(database_url: str) -> None:
    """What a database does by itself once the load is over: figures for its planner, a checkpoint."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(str(make_url(database_url).database))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return
    import psycopg

    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute("VACUUM ANALYZE")
        server.execute("CHECKPOINT")
