"""`sessions`: who is signed in."""

from __future__ import annotations

import click

from auth_service.app import administration_of, session_policy
from auth_service.commands.console import WITH_IDENTIFIER, fail, instant, json_option, run, show
from auth_service.identity.sessions import Ending, Sessions
from auth_service.model.caller import NOWHERE
from auth_service.model.security_event import OPERATOR
from auth_service.model.session import EndReason
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared.clock import Clock


@click.group()
def sessions() -> None:
    """List and end sessions."""


@sessions.command("list", context_settings=WITH_IDENTIFIER)
@click.argument("username")
@json_option
def list_sessions(username: str, *, as_json: bool) -> None:
    """The sessions of the account USERNAME that go on, the one used last first."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        sub = await _sub(settings, storage, clock, username)
        return [
            {
                "sid": session.sid,
                "client": session.grant.client_id,
                "scope": str(session.grant.scope),
                "opened": instant(session.opened_at),
                "last_used": instant(session.last_used_at),
                "address": session.opened_from.address,
                "user_agent": session.opened_from.user_agent,
            }
            for session in await Sessions(storage, session_policy(settings), clock).live_of(sub)
        ]

    show(run(work), as_json=as_json)


@sessions.command(context_settings=WITH_IDENTIFIER)
@click.argument("sid")
@json_option
def end(sid: str, *, as_json: bool) -> None:
    """End the session SID."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        ending = Ending(EndReason.ENDED_BY_OPERATOR, OPERATOR, NOWHERE)
        if not await Sessions(storage, session_policy(settings), clock).end(sid, ending):
            fail("there is no such session, or it is over")
        return [{"ended": sid}]

    show(run(work), as_json=as_json)


@sessions.command("end-all", context_settings=WITH_IDENTIFIER)
@click.argument("username")
@json_option
def end_all(username: str, *, as_json: bool) -> None:
    """End every session of the account USERNAME."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        sub = await _sub(settings, storage, clock, username)
        ending = Ending(EndReason.ENDED_BY_OPERATOR, OPERATOR, NOWHERE)
        return [{"ended": await Sessions(storage, session_policy(settings), clock).end_all(sub, ending)}]

    show(run(work), as_json=as_json)


async def _sub(settings: AuthSettings, storage: SqlStorage, clock: Clock, username: str) -> str:
    async with administration_of(settings, storage, clock) as administration:
        account = await administration.find(username)
    if account is None:
        fail("there is no such account")
    return account.sub
