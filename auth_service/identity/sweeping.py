"""Rows that have had their time are removed: a few at a time, by every process, all the time.

Steps are small because on SQLite everything else waits for them, and pauses lie between them because a table that has
grown for a year must not be a morning's work. Several processes may sweep at once: none waits for another's rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter

from auth_service.model.revocation import CLOCK_DIFFERENCE_SECONDS, ENTRY_SECONDS
from auth_service.model.storage import Records, Storage
from shared.clock import Clock
from shared.errors import Unavailable

ROUND_SECONDS = 60.0
"""From the end of one round to the next."""
STEP_ROWS = 200
"""What one transaction removes; it takes a few milliseconds."""
PAUSE_SECONDS = 0.1
"""Between two steps: whoever waits for SQLite's one writer comes in between."""
DAY_SECONDS = 86_400.0
SESSION_RETENTION_SECONDS = 7 * DAY_SECONDS
"""How long a session is kept after its end: a late copy of its refresh token is still told apart from nonsense in the
audit trail, and its access tokens (15 minutes at most) have long expired."""
LINK_RETENTION_SECONDS = 7 * DAY_SECONDS
"""How long a password link is kept after it expired: whoever comes late with it is still told apart from nonsense."""
BUDGET_RETENTION_SECONDS = 300.0
"""How long a budget that is whole is kept: more than the clocks of two processes may differ."""

log = structlog.get_logger(__name__)

Step = Callable[[Records], int]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what has an end of its own is kept, in seconds: the audit trail's events."""

    security_events: float = 400 * DAY_SECONDS

    def steps(self, now: float) -> Mapping[str, Step]:
        """One step of removing for each kind of row."""
        return {
            "sessions": lambda records: records.sessions.sweep(before=now - SESSION_RETENTION_SECONDS, limit=STEP_ROWS),
            "password_links": lambda records: records.password_links.sweep(
                before=now - LINK_RETENTION_SECONDS, limit=STEP_ROWS
            ),
            "security_events": lambda records: records.security_events.sweep(
                before=now - self.security_events, limit=STEP_ROWS
            ),
            "revocations": lambda records: records.revocations.sweep(
                before=now - CLOCK_DIFFERENCE_SECONDS, limit=STEP_ROWS
            ),
            # Most go with their sessions; these are of accounts that were deleted.
            "status_positions": lambda records: records.status_lists.sweep(before=now - ENTRY_SECONDS, limit=STEP_ROWS),
            "budgets": lambda records: records.budgets.sweep(before=now - BUDGET_RETENTION_SECONDS, limit=STEP_ROWS),
        }


class Sweeper:
    """Removes what nobody needs any more."""

    def __init__(
        self, storage: Storage, retention: Retention, clock: Clock, registry: CollectorRegistry | None = None
    ) -> None:
        self._storage = storage
        self._retention = retention
        self._clock = clock
        self._swept = Counter("signet_swept_rows", "Rows that were removed by age.", ["kind"], registry=registry)

    async def sweep(self) -> Mapping[str, int]:
        """One round: all that is old now, in steps; how many rows of each kind went."""
        return {kind: await self._all(kind, step) for kind, step in self._retention.steps(self._clock.now()).items()}

    async def follow(self) -> None:
        """Sweep for ever. What fails is logged and left for the next round."""
        while True:
            try:
                swept = {kind: gone for kind, gone in (await self.sweep()).items() if gone}
                if swept:
                    log.info("rows_swept", **swept)
            except Unavailable:
                log.warning("sweeping_postponed")
            except Exception:
                log.exception("sweeping_failed")
            await self._clock.sleep(ROUND_SECONDS)

    async def _all(self, kind: str, step: Step) -> int:
        swept = 0
        while True:
            gone = await self._storage.write(step, durable=False)
            self._swept.labels(kind).inc(gone)
            swept += gone
            if gone < STEP_ROWS:
                return swept
            await self._clock.sleep(PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def sweeping(sweeper: Sweeper) -> AsyncIterator[None]:
    """Sweep in the background until the block ends."""
    following = asyncio.create_task(sweeper.follow(), name="sweeper")
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
