"""The engine of a PostgreSQL database: how many connections it has, and how long anything may take there."""

from __future__ import annotations

from sqlalchemy import URL, Connection, Engine, create_engine, event

CONNECTIONS = 8
CONNECT_SECONDS = 3
STATEMENT_MILLISECONDS = 5_000
"""How long a statement may take, waiting for locks or not."""
IDLE_MILLISECONDS = 30_000
"""How long a transaction may do nothing."""


def open_engine(url: URL) -> Engine:
    """The engine for the database that `url` names; nothing is asked of the server yet.

    Of a transaction's execution options `durable` is heeded.
    """
    session = {
        "statement_timeout": STATEMENT_MILLISECONDS,
        "lock_timeout": STATEMENT_MILLISECONDS,
        "idle_in_transaction_session_timeout": IDLE_MILLISECONDS,
        "timezone": "UTC",
    }
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
        },
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
