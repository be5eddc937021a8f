"""`keys`: the signing keys."""

from __future__ import annotations

import click

from auth_service.app import key_settings, master_keys
from auth_service.commands.console import WITH_IDENTIFIER, fail, instant, json_option, run, show
from auth_service.keys.administration import KeyAdministration, UnknownKey
from auth_service.model.signing_key import IllegalKeyMove
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared.clock import Clock


@click.group()
def keys() -> None:
    """List, rotate, revoke and reseal the signing keys."""


@keys.command("list")
@json_option
def list_keys(*, as_json: bool) -> None:
    """Every key there ever was, oldest first, and what comes next for each."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        return [
            {
                "kid": key.record.kid,
                "state": str(key.record.state),
                "bits": key.record.key_bits,
                "since": instant(key.record.changed_at),
                "next_change": instant(key.next_change_at),
                "sealed_currently": key.sealed_currently,
            }
            for key in await _administration(settings, storage, clock).listing()
        ]

    show(run(work), as_json=as_json)


@keys.command()
@json_option
def rotate(*, as_json: bool) -> None:
    """Publish a new key now; it signs as soon as every resource server can have fetched it."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        started = await _administration(settings, storage, clock).rotate()
        return [{"kid": started.kid, "signs_at": instant(started.signs_at), "new": started.is_new}]

    show(run(work), as_json=as_json)


@keys.command(context_settings=WITH_IDENTIFIER)
@click.argument("kid")
@click.option("--lost-master-key", is_flag=True, help="The master key that sealed the present keys is gone for good.")
@click.confirmation_option(prompt="Tokens that this key signed will be refused. Revoke it?")
@json_option
def revoke(kid: str, *, lost_master_key: bool, as_json: bool) -> None:
    """Take the key KID out at once, in an emergency; another signs from now on."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        try:
            administration = _administration(settings, storage, clock)
            revocation = await administration.revoke(kid, lost_master_key=lost_master_key)
        except UnknownKey:
            fail("there is no key with this kid; see: keys list")
        except IllegalKeyMove as error:
            fail(f"nothing to revoke: {error}")
        return [{"revoked": revocation.kid, "signs_now": revocation.signing_kid}]

    show(run(work), as_json=as_json)


@keys.command()
@json_option
def reseal(*, as_json: bool) -> None:
    """Seal every private key anew under the present master key (the former ones: AUTH_FORMER_MASTER_KEYS)."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        return [{"resealed": kid} for kid in await _administration(settings, storage, clock).reseal()]

    show(run(work), as_json=as_json)


def _administration(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> KeyAdministration:
    return KeyAdministration(storage, master_keys(settings), key_settings(settings), clock)
