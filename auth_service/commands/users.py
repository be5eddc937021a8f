"""`users`: the accounts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

from auth_service.app import accounts_of, administration_of, password_links_of
from auth_service.commands.console import WITH_IDENTIFIER, fail, instant, json_option, run, show
from auth_service.endpoints.set_password import password_link
from auth_service.identity.accounts import Registration
from auth_service.identity.administration import AccountAdministration
from auth_service.model.account import Account
from auth_service.model.caller import NOWHERE
from auth_service.model.password_link import MAX_LIFETIME_SECONDS, MIN_LIFETIME_SECONDS
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared.clock import Clock
from shared.errors import ServiceError

MAX_ROWS = 1000


@dataclass(frozen=True, slots=True)
class LinkWish:
    """That a link is wanted instead of a password asked for; `lifetime` in seconds, None for that of the settings."""

    lifetime: int | None


def link_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--link` and `--lifetime`; it gets a `LinkWish` as `link`, or None."""

    @click.option("--link", "wanted", is_flag=True, help="Print a link with which the owner chooses a password, once.")
    @click.option(
        "--lifetime",
        type=click.IntRange(MIN_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS),
        help="For how many seconds the link works (AUTH_PASSWORD_LINK_SECONDS).",
    )
    @functools.wraps(command)
    def with_link(*, wanted: bool, lifetime: int | None, **given: object) -> None:
        if lifetime is not None and not wanted:
            raise click.UsageError("--lifetime is for a link: give --link, too.")
        command(link=LinkWish(lifetime) if wanted else None, **given)

    return with_link


@click.group()
def users() -> None:
    """List, add, disable, enable and delete accounts; set a password."""


@users.command("list")
@click.option("--after", default="", help="Start behind this user name.")
@click.option("--limit", default=100, type=click.IntRange(1, MAX_ROWS), help="At most so many (100).")
@json_option
def list_users(*, after: str, limit: int, as_json: bool) -> None:
    """The accounts in the order of their names."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        async with administration_of(settings, storage, clock) as administration:
            return [_row(account) for account in await administration.listing(after_key=after, limit=limit)]

    show(run(work), as_json=as_json)


@users.command(context_settings=WITH_IDENTIFIER)
@click.argument("username")
@click.option("--email", default=None)
@click.option("--name", default=None, help="The name to show.")
@link_options
@json_option
def add(username: str, *, email: str | None, name: str | None, link: LinkWish | None, as_json: bool) -> None:
    """Create the account USERNAME, also while registration is closed. The password is asked for.

    With --link the account has no password until its owner opens the link and chooses one.
    """
    password = _ask_password() if link is None else None

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        async with accounts_of(settings, storage, clock) as accounts:
            try:
                registration = Registration(username, password, email, name)
                account = await accounts.register(registration, NOWHERE, by_operator=True)
            except ServiceError as error:
                fail(error.description)
        return [_row(account) if link is None else await _made_link(settings, storage, clock, account, link)]

    show(run(work), as_json=as_json)


@users.command("set-password", context_settings=WITH_IDENTIFIER)
@click.argument("username")
@link_options
@json_option
def set_password(username: str, *, link: LinkWish | None, as_json: bool) -> None:
    """Give the account USERNAME another password, asked for at a prompt; all its sessions end.

    With --link nothing changes yet: the owner opens the link in a browser and chooses a password there, which nobody
    else learns. Links before it are void.
    """
    if link is not None:
        _show_link(username, link, as_json=as_json)
        return
    password = _ask_password()

    async def change(administration: AccountAdministration, account: Account) -> bool:
        try:
            return await administration.set_password(account, password)
        except ServiceError as error:
            fail(error.description)

    _change(username, change, as_json=as_json)


@users.command(context_settings=WITH_IDENTIFIER)
@click.argument("username")
@json_option
def disable(username: str, *, as_json: bool) -> None:
    """Close the account USERNAME to sign-ins and end its sessions."""
    _change(username, lambda administration, account: administration.disable(account.sub), as_json=as_json)


@users.command(context_settings=WITH_IDENTIFIER)
@click.argument("username")
@json_option
def enable(username: str, *, as_json: bool) -> None:
    """Let the account USERNAME sign in again."""
    _change(username, lambda administration, account: administration.enable(account.sub), as_json=as_json)


@users.command(context_settings=WITH_IDENTIFIER)
@click.argument("username")
@click.confirmation_option(prompt="The account and its sessions go for good. Delete it?")
@json_option
def delete(username: str, *, as_json: bool) -> None:
    """Remove the account USERNAME; its events stay in the audit trail under a pseudonym."""
    _change(username, lambda administration, account: administration.delete(account.sub), as_json=as_json)


def _change(
    username: str, change: Callable[[AccountAdministration, Account], Awaitable[bool]], *, as_json: bool
) -> None:
    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        async with administration_of(settings, storage, clock) as administration:
            account = await administration.find(username)
            if account is None:
                fail("there is no such account")
            changed = await change(administration, account)
            after = await administration.find(username)
            return [{**_row(after or account), "changed": changed, "exists": after is not None}]

    show(run(work), as_json=as_json)


def _show_link(username: str, link: LinkWish, *, as_json: bool) -> None:
    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        async with administration_of(settings, storage, clock) as administration:
            account = await administration.find(username)
        if account is None:
            fail("there is no such account")
        return [await _made_link(settings, storage, clock, account, link)]

    show(run(work), as_json=as_json)


async def _made_link(
    settings: AuthSettings, storage: SqlStorage, clock: Clock, account: Account, link: LinkWish
) -> dict[str, object]:
    lifetime = settings.password_link_seconds if link.lifetime is None else link.lifetime
    async with password_links_of(settings, storage, clock) as links:
        made = await links.make(account.sub, lifetime=lifetime)
    if made is None:
        fail("the account is disabled: enable it first")
    return {
        "username": account.username,
        "sub": account.sub,
        "expires": instant(made.expires_at),
        "link": password_link(settings.issuer, made.token),
    }


def _ask_password() -> str:
    """The password from a prompt that is asked twice, or the one line of standard input when that is no terminal."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().removesuffix("\n")


def _row(account: Account) -> dict[str, object]:
    return {
        "username": account.username,
        "sub": account.sub,
        "state": str(account.state),
        "email": account.email,
        "created": instant(account.created_at),
        "password_changed": instant(account.password_changed_at),
    }
