"""One password link, many forms at once, two processes: one password is set, nobody else's is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from auth_service.keys.sealing import new_master_key
from tests.end_to_end.fleet import Fleet, running_fleet
from tests.end_to_end.processes import END_SECONDS, ROOT

FORMS = 20
ROUNDS = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Two processes of the auth service on one database of each kind."""
    settings = {}
    if request.param == "postgresql":
        settings["AUTH_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
        settings["AUTH_MASTER_KEY"] = new_master_key()
    with running_fleet(tmp_path, replicas=2, resources=0, **settings) as running:
        yield running


def new_link(fleet: Fleet, *command: str) -> str:
    """The token of a link that the command prints."""
    shown = subprocess.run(
        [sys.executable, "-m", "auth_service", "users", *command, "--link", "--json"],
        cwd=ROOT,
        env=os.environ | fleet.environment("auth-0"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=True,
    )
    (row,) = json.loads(shown.stdout)
    link: str = row["link"]
    assert link.startswith(f"{fleet.issuer}/set-password?token=")
    return parse_qs(urlsplit(link).query)["token"][0]


async def test_of_forms_at_two_processes_one_counts(fleet: Fleet) -> None:
    """Each form brings a password of its own: one is answered 303 and is in force, all others 404."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def choose(token: str, password: str, replica: int) -> int:
            form = {"token": token, "new_password": password, "repeated_password": password}
            url = fleet.url(f"auth-{replica}", "/set-password")
            async with http.post(url, data=form, allow_redirects=False) as answer:
                return answer.status

        async def signs_in(password: str, replica: int) -> bool:
            url = fleet.url(f"auth-{replica}", "/login")
            async with http.post(url, json={"username": "ada", "password": password}) as answer:
                assert answer.status in (200, 401)
                return answer.status == 200

        for number in range(ROUNDS):
            command = ("set-password", "ada") if number else ("add", "ada")
            token = await asyncio.to_thread(new_link, fleet, *command)
            passwords = [f"the words of {number} and {form}" for form in range(FORMS)]
            statuses = await asyncio.gather(
                *(choose(token, password, form % 2) for form, password in enumerate(passwords))
            )
            assert sorted(statuses) == [303] + [404] * (FORMS - 1)
            won = statuses.index(303)
            assert await signs_in(passwords[won], 0)
            assert await signs_in(passwords[won], 1)
            assert not await signs_in(passwords[won - 1], 1)
