"""`users add --link` and `users set-password --link`: what an operator types, and what stands there then."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from click.testing import CliRunner, Result

from auth_service.cli import main
from auth_service.model.account import Account
from auth_service.model.password_link import LinkToken
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.process import environment
from tests.auth_service.running import in_database

T = TypeVar("T")

ISSUER = "https://id.example.org/auth"
LINK = re.compile(rf"{ISSUER}/set-password\?token=(signet_link_[A-Za-z0-9_-]{{43}})")
ADD = ("users", "add", "ada", "--link")
SET = ("users", "set-password", "ada", "--link")


class Operator:
    """Somebody at the machine of a service that has started once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def invoke(self, *arguments: str, **settings: str) -> Result:
        """A command, with a standard input that ends at once."""
        variables = environment(self._folder, ISSUER=ISSUER, **settings)
        return CliRunner().invoke(main, arguments, env=variables, input="")

    def row(self, *arguments: str, **settings: str) -> dict[str, str]:
        """What the command prints for programs; it must work."""
        shown = self.invoke(*arguments, "--json", **settings)
        assert (shown.exit_code, shown.stderr) == (0, "")
        (row,) = json.loads(shown.stdout)
        return dict(row)

    def stored(self, work: Callable[[Records], T]) -> T:
        settings = AuthSettings.load({"AUTH_DATABASE_URL": f"sqlite:///{self._folder}/auth.sqlite3"})
        return asyncio.run(in_database(settings, work))

    def account(self, username: str = "ada") -> Account:
        account = self.stored(lambda records: records.accounts.find_by_username_key(username))
        assert account is not None
        return account


@pytest.fixture
def operator(tmp_path: Path, prepared_folder: Path) -> Operator:
    shutil.copytree(prepared_folder, tmp_path / "auth")
    return Operator(tmp_path / "auth")


def token_of(link: str) -> LinkToken:
    form = LINK.fullmatch(link)
    assert form is not None
    return LinkToken(form[1])


def seconds(row: dict[str, str]) -> float:
    """How long the link in this row works from about now."""
    expires = datetime.datetime.fromisoformat(row["expires"])
    return (expires - datetime.datetime.now(datetime.UTC)).total_seconds()  # noqa: TID251 - a real command's clock


def test_an_account_is_added_without_a_password(operator: Operator) -> None:
    """No password is asked for; the link is of the issuer's making, and its hash is all that is stored."""
    row = operator.row(*ADD)
    assert list(row) == ["username", "sub", "expires", "link"]
    account = operator.account()
    assert (row["username"], row["sub"], account.password_hash) == ("ada", account.sub, None)
    token = token_of(row["link"])
    link = operator.stored(lambda records: records.password_links.find(token.hash))
    assert link is not None
    assert link.sub == account.sub
    assert link.end(account, at=link.made_at) is None


def test_people_get_a_table(operator: Operator) -> None:
    """The link stands in it once, and last, where a line that breaks does the least harm."""
    operator.row(*ADD)
    shown = operator.invoke(*SET)
    heading, line = shown.stdout.splitlines()
    assert heading.split() == ["username", "sub", "expires", "link"]
    assert LINK.fullmatch(line.split()[-1])
    assert len(LINK.findall(shown.output)) == 1


def test_how_long_it_works_is_said(operator: Operator) -> None:
    """A day, or as the setting says, or as this one is to."""
    assert seconds(operator.row(*ADD)) == pytest.approx(86_400, abs=60)
    assert seconds(operator.row(*SET, PASSWORD_LINK_SECONDS="3600")) == pytest.approx(3_600, abs=60)
    assert seconds(operator.row(*SET, "--lifetime", "600", PASSWORD_LINK_SECONDS="3600")) == pytest.approx(600, abs=60)


def test_a_new_link_makes_the_former_one_void(operator: Operator) -> None:
    """Whoever still holds it holds nothing."""
    links = [token_of(operator.row(*command)["link"]) for command in (ADD, SET)]
    found = operator.stored(lambda records: [records.password_links.find(token.hash) for token in links])
    assert [link is not None and link.ended_at is None for link in found] == [False, True]


@pytest.mark.parametrize(
    "arguments",
    [
        (*SET, "--lifetime", "299"),
        (*SET, "--lifetime", "604801"),
        (*SET, "--lifetime", "soon"),
        (*SET[:-1], "--lifetime", "600"),
        (*ADD[:-1], "--lifetime", "600"),
    ],
)
def test_a_lifetime_that_makes_no_sense_is_refused(operator: Operator, arguments: tuple[str, ...]) -> None:
    """Exit code 2: too short, too long, no number, or for no link."""
    shown = operator.invoke(*arguments)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr.startswith("Usage:")


def test_without_an_account_that_is_open_there_is_no_link(operator: Operator) -> None:
    """Exit code 1 and a line: nobody of that name, the name taken, or the account disabled."""
    for arguments, reason in (
        (SET, "there is no such account"),
        (ADD, ""),
        (ADD, "taken"),
        (("users", "disable", "ada"), ""),
        (SET, "the account is disabled"),
    ):
        shown = operator.invoke(*arguments)
        assert (shown.exit_code, reason in shown.stderr) == (1 if reason else 0, True)
        assert not (reason and shown.stdout)
