"""A value that is taken is told and not raised, on both databases; a process loads the dialect of its own one only."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

from shared.database import Database
from shared.upsert import insert_into, insert_unless_taken

metadata = MetaData()
names = Table("names", metadata, Column("name", String, primary_key=True), Column("number", Integer, nullable=False))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with one table, of each kind in turn."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/sample.sqlite3" if sqlite else request.getfixturevalue("postgresql_url")
    opened = Database.open(url)
    await opened.write(metadata.create_all)
    yield opened
    await opened.close()


def stored(connection: Connection) -> list[tuple[str, int]]:
    return [(row.name, row.number) for row in connection.execute(select(names))]


async def test_what_is_taken_is_told_and_the_transaction_goes_on(database: Database) -> None:
    """The first stays, and the rest of the work is stored with it."""

    def work(connection: Connection) -> list[bool]:
        rows = [{"name": "a", "number": 1}, {"name": "a", "number": 2}, {"name": "b", "number": 3}]
        return [insert_unless_taken(connection, names, row) for row in rows]

    assert await database.write(work) == [True, False, True]
    assert await database.read(stored) == [("a", 1), ("b", 3)]


async def test_of_many_who_want_a_value_one_gets_it(database: Database) -> None:
    """However many come at once."""

    async def take(number: int) -> bool:
        return await database.write(
            lambda connection: insert_unless_taken(connection, names, {"name": "a", "number": number})
        )

    assert sorted(await asyncio.gather(*(take(number) for number in range(20)))) == [False] * 19 + [True]


async def test_what_is_taken_can_be_replaced(database: Database) -> None:
    """The same words in both dialects."""

    def work(connection: Connection) -> None:
        insert = insert_into(names, connection.dialect.name)
        statement = insert.on_conflict_do_update(index_elements=["name"], set_={"number": insert.excluded.number})
        for number in (1, 2):
            connection.execute(statement, {"name": "a", "number": number})

    await database.write(work)
    assert await database.read(stored) == [("a", 2)]


def test_a_process_loads_one_dialect(tmp_path: Path) -> None:
    """Each costs 2 MB; Alembic costs ten, and is loaded where there is something to migrate."""
    code = f"""
        import asyncio, sys
        import auth_service.app, resource_service.app
        from sqlalchemy import Column, MetaData, String, Table
        from shared.database import Database
        from shared.upsert import insert_unless_taken

        metadata = MetaData()
        names = Table("names", metadata, Column("name", String, primary_key=True))

        async def main():
            database = Database.open("sqlite:///{tmp_path}/sample.sqlite3")
            await database.write(metadata.create_all)
            await database.write(lambda connection: insert_unless_taken(connection, names, {{"name": "a"}}))
            await database.close()

        asyncio.run(main())
        loaded = [name for name in sys.modules if name.startswith("sqlalchemy.dialects.")]
        dialects = {{name.split(".")[2] for name in loaded}} - {{"_typing"}}
        print(*sorted(dialects), "alembic" in sys.modules)
    """
    finished = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["sqlite", "False"]
