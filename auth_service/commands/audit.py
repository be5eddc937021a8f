"""`audit`: the trail of security events."""

from __future__ import annotations

import click

from auth_service.app import administration_of
from auth_service.commands.console import fail, instant, json_option, run, show
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared.clock import Clock

HOUR_SECONDS = 3_600


@click.command()
@click.option("--user", "username", default=None, help="Only the events of this account.")
@click.option("--hours", default=24.0, type=click.FloatRange(min=0, min_open=True), help="How far back (24).")
@click.option("--limit", default=100, type=click.IntRange(1, 10_000), help="At most so many (100).")
@json_option
def audit(*, username: str | None, hours: float, limit: int, as_json: bool) -> None:
    """Who did what, from where, with what outcome, newest first."""

    async def work(settings: AuthSettings, storage: SqlStorage, clock: Clock) -> list[dict[str, object]]:
        async with administration_of(settings, storage, clock) as administration:
            sub = None
            if username is not None:
                account = await administration.find(username)
                if account is None:
                    fail("there is no such account")
                sub = account.sub
            since = clock.now() - hours * HOUR_SECONDS
            events = await administration.events(sub=sub, since=since, limit=limit)
        return [
            {
                "at": instant(event.at),
                "event": str(event.kind),
                "outcome": str(event.outcome),
                "actor": event.actor,
                "sub": event.sub,
                "sid": event.sid,
                "address": event.caller.address or None,
                "detail": " ".join(f"{name}={value}" for name, value in event.detail.items()) or None,
            }
            for event in events
        ]

    show(run(work), as_json=as_json)
