"""What the audit trail keeps: who did what, from where, with what outcome, and when. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from auth_service.model.caller import Caller

OPERATOR = "operator"
"""The actor of what is done on the service's own machine."""


class SecurityEventKind(StrEnum):
    """What happened; the name is also the name of the log line."""

    ACCOUNT_REGISTERED = "account_registered"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_ENABLED = "account_enabled"
    ACCOUNT_DELETED = "account_deleted"
    SIGN_IN_REFUSED = "sign_in_refused"
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_CHANGE_REFUSED = "password_change_refused"
    PASSWORD_REHASHED = "password_rehashed"
    PASSWORD_LINK_MADE = "password_link_made"
    PASSWORD_LINK_USED = "password_link_used"
    PASSWORD_LINK_REFUSED = "password_link_refused"
    SESSION_OPENED = "session_opened"
    SESSION_ENDED = "session_ended"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"
    """A copy of a refresh token was presented; that ended its session."""
    REFRESH_REFUSED = "refresh_refused"
    ACCESS_TOKEN_REVOKED = "access_token_revoked"
    """One access token, before it expired; its session goes on."""
    SIGNING_KEY_INTRODUCED = "signing_key_introduced"
    SIGNING_KEY_MOVED = "signing_key_moved"
    SIGNING_KEY_RESEALED = "signing_key_resealed"
    """Its private part was sealed under another master key."""


class Outcome(StrEnum):
    """How it ended for the one who tried."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """One line of the audit trail.

    `actor` is who did it: a subject, or a word such as OPERATOR; None when nobody was recognised. `sub` is whose
    account it concerns. `detail` holds a few short words (a reason, a number), no free text that was sent.
    """

    at: float
    kind: SecurityEventKind
    outcome: Outcome
    caller: Caller
    actor: str | None = None
    sub: str | None = None
    sid: str | None = None
    client_id: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Act:
    """Something somebody does: when, from where, and who it is (see `SecurityEvent.actor`)."""

    at: float
    caller: Caller
    actor: str | None = None

    def done(
        self,
        kind: SecurityEventKind,
        *,
        sub: str | None = None,
        sid: str | None = None,
        client_id: str | None = None,
        **detail: str,
    ) -> SecurityEvent:
        """The event that says it was done."""
        return SecurityEvent(self.at, kind, Outcome.DONE, self.caller, self.actor, sub, sid, client_id, detail)

    def refused(
        self,
        kind: SecurityEventKind,
        *,
        sub: str | None = None,
        sid: str | None = None,
        client_id: str | None = None,
        **detail: str,
    ) -> SecurityEvent:
        """The event that says it was refused."""
        return SecurityEvent(self.at, kind, Outcome.REFUSED, self.caller, self.actor, sub, sid, client_id, detail)


class SecurityEventRecords(Protocol):
    """The audit trail that one transaction sees; rows are added, and leave only by age."""

    def append(self, event: SecurityEvent) -> None:
        """Store `event` with the rest of this transaction; it is logged once the transaction is committed."""
        ...

    def newest(self, *, sub: str | None = None, since: float = 0.0, limit: int = 100) -> Sequence[SecurityEvent]:
        """Events not older than `since`, of one account or of all, newest first."""
        ...

    def pseudonymise(self, sub: str) -> None:
        """Cut what ties the events of a deleted account to it; they stay tied to each other."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` events older than `before`; return how many went."""
        ...
