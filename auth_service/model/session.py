"""A session: what a sign-in opens, and the state machine that its refresh tokens go through.

One row for a session, not one for each token. At any time a session has one newest token and remembers its parent:

    newest presented                       -> it becomes the parent, a successor is made        (Rotated)
    parent presented, inside the grace     -> the same successor once more                      (Repeated)
    parent presented later, or any older   -> only a copy can be that: the session ends         (Refused)

Presenting the successor makes it the parent, so its own parent is from then on an older one: that is what closes
the window. The parts that must be random are handed in, so every move here is a function of its arguments.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from auth_service.model.caller import Caller
from auth_service.model.refresh_token import RefreshToken
from auth_service.oauth.authentication import Authentication
from shared.scope import Scope

SESSION_ID_BYTES = 16
"""128 random bits (ASVS 5.0 7.2.3)."""
SESSION_ID_FORM = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
MAX_SESSIONS = 100
"""Sessions of one account that go on at a time; one more ends the one not used for longest. Without a bound one account
could make reading, ending and publishing its sessions a burden on everybody."""
MAX_GRACE_SECONDS = 60
"""No lost answer takes longer to be missed; Okta and Cognito allow as much."""


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How long sessions live, in seconds: without use, in all, and how long a parent token may come again.

    With `status_list` each has a position in a status list.
    """

    idle_timeout: float = 14 * 86_400
    absolute_lifetime: float = 90 * 86_400
    grace: float = 10
    status_list: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.idle_timeout <= self.absolute_lifetime:
            raise ValueError("the idle timeout must be positive and at most the absolute lifetime")
        if not 0 <= self.grace <= MAX_GRACE_SECONDS:
            raise ValueError(f"the grace must be between 0 and {MAX_GRACE_SECONDS} seconds")


class EndReason(StrEnum):
    """Why a session is over."""

    LOGOUT = "logout"
    ENDED_BY_USER = "ended_by_user"
    ENDED_BY_OPERATOR = "ended_by_operator"
    PASSWORD_CHANGED = "password_changed"
    ACCOUNT_DISABLED = "account_disabled"
    ACCOUNT_DELETED = "account_deleted"
    CROWDED_OUT = "crowded_out"
    TOKEN_REUSED = "token_reused"
    TOKEN_REVOKED = "token_revoked"


class Refusal(StrEnum):
    """Why a refresh token was not honoured; for the audit trail, the client only learns `invalid_grant`."""

    UNKNOWN = "unknown"
    ENDED = "ended"
    EXPIRED = "expired"
    REUSED = "reused"
    OTHER_CLIENT = "other_client"
    ACCOUNT_CLOSED = "account_closed"
    SCOPE_EXCEEDED = "scope_exceeded"
    OTHER_RESOURCE = "other_resource"


@dataclass(frozen=True, slots=True)
class SessionGrant:
    """What a session is opened for: which client may do what at which resource, and how the user signed in."""

    client_id: str
    scope: Scope
    audience: str
    authentication: Authentication


@dataclass(frozen=True, slots=True)
class Parent:
    """The token before the newest one: its hash, the salt that made the newest of it, and when that was."""

    secret_hash: bytes = field(repr=False)
    successor_salt: bytes = field(repr=False)
    used_at: float


@dataclass(frozen=True, slots=True)
class RefreshChain:
    """What the server keeps of a session's refresh tokens; nothing of it can be presented.

    `parent` is None until the first rotation; `generation` is how many tokens came before the newest one.
    """

    handle_hash: bytes = field(repr=False)
    newest_hash: bytes = field(repr=False)
    generation: int
    parent: Parent | None

    @classmethod
    def begin(cls, first: RefreshToken) -> RefreshChain:
        """A chain whose newest token is `first`."""
        return cls(first.handle_hash, first.secret_hash, 0, None)

    def rotate(self, newest: RefreshToken, salt: bytes, *, at: float) -> RefreshChain:
        """The chain after its newest token was used; the successor is `newest.successor(salt)`."""
        return RefreshChain(
            handle_hash=self.handle_hash,
            newest_hash=newest.successor(salt).secret_hash,
            generation=self.generation + 1,
            parent=Parent(self.newest_hash, salt, used_at=at),
        )


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in that goes on: whose, what for, from where, until when, and its chain of refresh tokens.

    `idle_expires_at` moves with each use and never beyond `expires_at`, which never moves; nor do the grant's scope
    and audience ever grow. An ended session stays as it ended. `status_position` is where it stands in the status
    lists, None when it was opened, and not continued since, without them (`model.status_list`).
    """

    sid: str
    sub: str
    grant: SessionGrant
    opened_from: Caller
    opened_at: float
    last_used_at: float
    idle_expires_at: float
    expires_at: float
    chain: RefreshChain
    ended_at: float | None = None
    end_reason: EndReason | None = None
    status_position: int | None = None

    @property
    def is_ended(self) -> bool:
        return self.ended_at is not None

    def is_expired(self, at: float) -> bool:
        return at >= self.idle_expires_at or at >= self.expires_at

    def is_live(self, at: float) -> bool:
        return not self.is_ended and not self.is_expired(at)

    def end(self, reason: EndReason, *, at: float) -> Session:
        """The session ended; one that is over already keeps its first reason."""
        return self if self.is_ended else replace(self, ended_at=at, end_reason=reason)

    def present(
        self, unverified_token: RefreshToken, *, salt: bytes, policy: SessionPolicy, at: float
    ) -> Rotated | Repeated | Refused:
        """Judge a token whose handle is this session's; the outcome carries the session as it then stands."""
        if self.is_ended:
            return Refused(Refusal.ENDED, self)
        if self.is_expired(at):
            return Refused(Refusal.EXPIRED, self)
        parent = self.chain.parent
        if hmac.compare_digest(unverified_token.secret_hash, self.chain.newest_hash):
            return Rotated(self._rotate(unverified_token, salt, policy, at), unverified_token.successor(salt))
        # A wall clock that was set back makes a negative age; that is no reason to end an honest session.
        if (
            parent is not None
            and hmac.compare_digest(unverified_token.secret_hash, parent.secret_hash)
            and at - parent.used_at <= policy.grace
        ):
            return Repeated(self, unverified_token.successor(parent.successor_salt))
        return Refused(Refusal.REUSED, self.end(EndReason.TOKEN_REUSED, at=at))

    def _rotate(self, newest: RefreshToken, salt: bytes, policy: SessionPolicy, at: float) -> Session:
        last_used_at = max(at, self.last_used_at)
        return replace(
            self,
            chain=self.chain.rotate(newest, salt, at=at),
            last_used_at=last_used_at,
            idle_expires_at=min(last_used_at + policy.idle_timeout, self.expires_at),
        )


@dataclass(frozen=True, slots=True)
class Rotated:
    """The newest token was presented: the session moved on and has a new newest one."""

    session: Session
    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Repeated:
    """The parent came again in time: the session stays as it is, the successor is the one made before."""

    session: Session
    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Refused:
    """The token is not honoured; with `Refusal.REUSED` the session has just ended by that."""

    refusal: Refusal
    session: Session


class SessionRecords(Protocol):
    """The sessions that one transaction sees."""

    def add(self, session: Session) -> None: ...

    def find(self, sid: str) -> Session | None: ...

    def hold(self, sid: str) -> Session | None:
        """The session, kept from every other writer until this transaction ends; needs a writing transaction."""
        ...

    def hold_by_token(self, unverified_token: RefreshToken) -> Session | None:
        """As `hold`: the session whose handle the token carries, whether or not its secret is any good."""
        ...

    def knows(self, unverified_token: RefreshToken) -> bool:
        """Whether there is a session whose handle the token carries; nothing is held."""
        ...

    def update(self, session: Session) -> None:
        """Store the new value of a session that this transaction holds."""
        ...

    def live_of(self, sub: str, *, at: float) -> Sequence[Session]:
        """The account's sessions that go on, the one used last first."""
        ...

    def crowded_out(self, sub: str, *, at: float, keep: int) -> Sequence[str]:
        """The `sid` of each session that goes on beyond the `keep` that were used last."""
        ...

    def end_all(self, sub: str, reason: EndReason, *, at: float, except_sid: str | None = None) -> Sequence[str]:
        """End the account's sessions but one; the `sid` of each that was not over yet."""
        ...

    def sweep(self, *, before: float, limit: int) -> int:
        """Remove up to `limit` sessions that expired or were ended before `before`; return how many went."""
        ...


def is_session_id(text: str) -> bool:
    """Whether `text`, from wherever it came, has the form of a `sid`."""
    return SESSION_ID_FORM.fullmatch(text) is not None


def open_session(
    sub: str, grant: SessionGrant, caller: Caller, *, policy: SessionPolicy, at: float
) -> tuple[Session, RefreshToken]:
    """A new session and its first refresh token."""
    first = RefreshToken.new()
    session = Session(
        sid=secrets.token_urlsafe(SESSION_ID_BYTES),
        sub=sub,
        grant=grant,
        opened_from=caller,
        opened_at=at,
        last_used_at=at,
        idle_expires_at=at + policy.idle_timeout,
        expires_at=at + policy.absolute_lifetime,
        chain=RefreshChain.begin(first),
    )
    return session, first
