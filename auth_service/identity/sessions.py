"""Sessions: opened by a sign-in, continued by refresh tokens, ended.

Whatever ends a session puts it into the revocation feed in the same transaction: its access tokens are still out.
Each method is one transaction. A refusal that ends a session is stored before it is answered: the work returns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from auth_service.identity.throttle import FREE, Paid
from auth_service.model.account import Account
from auth_service.model.caller import Caller
from auth_service.model.refresh_token import RefreshToken, new_successor_salt
from auth_service.model.revocation import revoked_session, revoked_token
from auth_service.model.security_event import Act, SecurityEventKind
from auth_service.model.session import (
    MAX_SESSIONS,
    EndReason,
    Refusal,
    Refused,
    Rotated,
    Session,
    SessionGrant,
    SessionPolicy,
    is_session_id,
    open_session,
)
from auth_service.model.storage import Records, Storage
from shared.clock import Clock
from shared.errors import Unavailable
from shared.revocation_feed import RevokedKind
from shared.scope import Scope


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that goes on: whose, how it stands, and the token that continues it next time."""

    account: Account
    session: Session
    refresh_token: RefreshToken


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """A refresh as a client asks for it: its token, who it is, and optionally less than the session's scope.

    `audience` is the resource it wants a token for; None for the session's own.
    """

    presented_token: str = field(repr=False)
    client_id: str
    scope: Scope | None = None
    audience: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session is ended and by whom: a subject, or a word such as `operator`."""

    reason: EndReason
    actor: str
    caller: Caller


@dataclass(frozen=True, slots=True)
class AccessTokenId:
    """Which access token: its `jti`, whose it is, of which session, and when it expires by itself."""

    token_id: str
    sub: str
    sid: str | None
    expires_at: float


class Sessions:
    """The sessions of every account."""

    def __init__(self, storage: Storage, policy: SessionPolicy, clock: Clock) -> None:
        self._storage = storage
        self._policy = policy
        self._clock = clock

    async def open(
        self, account: Account, grant: SessionGrant, caller: Caller, *, paid: Paid = FREE
    ) -> OpenSession | None:
        """A new session for an account that has just proved who it is; `paid` is given back with it.

        None when that is no longer so: disabled, deleted, or its password changed since `account` was read. Where
        storage fails `paid` is given back all the same, if it then can be.
        """
        now = self._clock.now()
        session, first = open_session(account.sub, grant, caller, policy=self._policy, at=now)

        def work(records: Records) -> Session | None:
            opened = _open(records, account, session, self._policy)
            if opened is not None:
                paid.refund(records, at=now)
            return opened

        try:
            opened = await self._storage.write(work)
        except Unavailable:
            # The password was right. Where nothing can be written the unit is lost, and this failure is what is told.
            failed_at = self._clock.now()
            with suppress(Unavailable):
                await self._storage.write(lambda records: _refund(records, session.sid, paid, failed_at), durable=False)
            raise
        return None if opened is None else OpenSession(account, opened, first)

    async def refresh(self, request: RefreshRequest, caller: Caller) -> OpenSession | Refusal:
        """Use a refresh token: the session and its next token, or why not (RFC 9700 section 4.14.2)."""
        token = await self._known(request.presented_token)
        if token is None:
            return Refusal.UNKNOWN
        presentation = _Presentation(token, request, new_successor_salt(), Act(self._clock.now(), caller))
        return await self._storage.write(lambda records: _refresh(records, presentation, self._policy))

    async def end(self, unverified_sid: str, ending: Ending, *, of: str | None = None) -> bool:
        """End one session; with `of` only when it is that account's. False when there is none that goes on."""
        if not is_session_id(unverified_sid):
            return False
        act = Act(self._clock.now(), ending.caller, ending.actor)

        def work(records: Records) -> bool:
            session = records.sessions.hold(unverified_sid)
            if session is None or (of is not None and session.sub != of):
                return False
            return _end(records, session, ending.reason, act)

        return await self._storage.write(work)

    async def end_by_token(self, presented_token: str, caller: Caller, *, reason: EndReason = EndReason.LOGOUT) -> bool:
        """End the session that a refresh token belongs to, of whatever generation it is: only its holders know one."""
        token = await self._known(presented_token)
        if token is None:
            return False
        now = self._clock.now()

        def work(records: Records) -> bool:
            session = records.sessions.hold_by_token(token)
            if session is None:
                return False
            return _end(records, session, reason, Act(now, caller, session.sub))

        return await self._storage.write(work)

    async def _known(self, presented_token: str) -> RefreshToken | None:
        """A token of some session, though its secret may be wrong; None for one that somebody made up.

        Found out by reading, so that a flood of those takes no turn from who writes. Once given out a token is known
        for as long as its session is stored; whether it is any good, the transaction that uses it says.
        """
        token = RefreshToken.parse(presented_token)
        if token is None or not await self._storage.read(lambda records: records.sessions.knows(token)):
            return None
        return token

    async def revoke_access_token(self, token: AccessTokenId, caller: Caller) -> bool:
        """Revoke one access token; its session goes on. False when it is revoked already, or its account is gone."""
        act = Act(self._clock.now(), caller, token.sub)

        def work(records: Records) -> bool:
            if records.revocations.covers(RevokedKind.TOKEN, token.token_id):
                return False
            # Where the account was deleted its subject is revoked for good, and must come back into no table. Held, so
            # that a deletion comes before us or finds what we wrote.
            if records.accounts.hold(token.sub) is None:
                return False
            records.revocations.append(revoked_token(token.token_id, expires_at=token.expires_at))
            kind = SecurityEventKind.ACCESS_TOKEN_REVOKED
            records.security_events.append(act.done(kind, sub=token.sub, sid=token.sid, jti=token.token_id))
            return True

        return await self._storage.write(work)

    async def end_all(self, sub: str, ending: Ending, *, except_sid: str | None = None) -> int:
        """End every session of an account but one; how many were ended."""
        act = Act(self._clock.now(), ending.caller, ending.actor)

        def work(records: Records) -> int:
            records.accounts.hold(sub)
            return end_sessions(records, sub, ending.reason, act, except_sid=except_sid)

        return await self._storage.write(work)

    async def live(self, sid: str, *, token_id: str | None = None) -> Session | None:
        """The session with this id while it goes on; None also when `token_id`, an access token of it, is revoked."""
        now = self._clock.now()

        def work(records: Records) -> Session | None:
            if token_id is not None and records.revocations.covers(RevokedKind.TOKEN, token_id):
                return None
            return records.sessions.find(sid)

        session = await self._storage.read(work)
        return session if session is not None and session.is_live(now) else None

    async def live_of(self, sub: str) -> Sequence[Session]:
        """The account's sessions that go on, the one used last first."""
        now = self._clock.now()
        return await self._storage.read(lambda records: records.sessions.live_of(sub, at=now))


def end_sessions(records: Records, sub: str, reason: EndReason, act: Act, *, except_sid: str | None = None) -> int:
    """End every session of an account but one, as part of a transaction that holds the account.

    Without that hold two of them could wait for each other's rows for ever.
    """
    ended = records.sessions.end_all(sub, reason, at=act.at, except_sid=except_sid)
    for sid in ended:
        records.revocations.append(revoked_session(sid, at=act.at))
        records.security_events.append(act.done(SecurityEventKind.SESSION_ENDED, sub=sub, sid=sid, reason=str(reason)))
    return len(ended)


@dataclass(frozen=True, slots=True)
class _Presentation:
    """One use of a refresh token, with what must not be drawn inside a transaction."""

    unverified_token: RefreshToken
    request: RefreshRequest
    salt: bytes
    act: Act


def _open(records: Records, proved: Account, session: Session, policy: SessionPolicy) -> Session | None:
    # Holding the account lets a password change or a disabling come before us or after us, but not in between.
    account = records.accounts.hold(proved.sub)
    if account is None or not account.is_active or account.password_changed_at != proved.password_changed_at:
        return None
    session = _listed(records, session, policy)
    act = Act(session.opened_at, session.opened_from, session.sub)
    for sid in records.sessions.crowded_out(session.sub, at=act.at, keep=MAX_SESSIONS - 1):
        crowded_out = records.sessions.hold(sid)
        if crowded_out is not None:
            _end(records, crowded_out, EndReason.CROWDED_OUT, act)
    records.sessions.add(session)
    records.security_events.append(
        act.done(SecurityEventKind.SESSION_OPENED, sub=session.sub, sid=session.sid, client_id=session.grant.client_id)
    )
    return session


def _refund(records: Records, unopened_sid: str, paid: Paid, at: float) -> None:
    # Only the database knows of a commit whose answer was lost, and that one has given it back.
    if records.sessions.find(unopened_sid) is None:
        paid.refund(records, at=at)


def _listed(records: Records, session: Session, policy: SessionPolicy) -> Session:
    """The session with a position in a status list, where sessions have one."""
    if not policy.status_list or session.status_position is not None:
        return session
    return replace(session, status_position=records.status_lists.assign(session.sid, expires_at=session.expires_at))


def _refresh(records: Records, presentation: _Presentation, policy: SessionPolicy) -> OpenSession | Refusal:
    act, request = presentation.act, presentation.request
    session = records.sessions.hold_by_token(presentation.unverified_token)
    if session is None:
        return Refusal.UNKNOWN
    # The token is judged first: a copy ends its session whatever else is wrong with the request.
    outcome = session.present(presentation.unverified_token, salt=presentation.salt, policy=policy, at=act.at)
    if isinstance(outcome, Refused):
        if outcome.refusal is Refusal.REUSED:
            records.sessions.update(outcome.session)
            records.revocations.append(revoked_session(session.sid, at=act.at))
            _note(records, act, SecurityEventKind.REFRESH_TOKEN_REUSED, session, outcome.refusal)
        return outcome.refusal
    account = records.accounts.find(session.sub)
    if account is None or not account.is_active:
        return Refusal.ACCOUNT_CLOSED
    if request.client_id != session.grant.client_id:
        _note(records, act, SecurityEventKind.REFRESH_REFUSED, session, Refusal.OTHER_CLIENT)
        return Refusal.OTHER_CLIENT
    if request.audience is not None and request.audience != session.grant.audience:
        return Refusal.OTHER_RESOURCE
    if request.scope is not None and not request.scope <= session.grant.scope:
        return Refusal.SCOPE_EXCEEDED
    if not isinstance(outcome, Rotated):
        return OpenSession(account, outcome.session, outcome.successor)
    # One that was opened without a position gets it now that its row is written anyway.
    rotated = _listed(records, outcome.session, policy)
    records.sessions.update(rotated)
    return OpenSession(account, rotated, outcome.successor)


def _note(records: Records, act: Act, kind: SecurityEventKind, session: Session, refusal: Refusal) -> None:
    records.security_events.append(
        act.refused(kind, sub=session.sub, sid=session.sid, client_id=session.grant.client_id, reason=str(refusal))
    )


def _end(records: Records, session: Session, reason: EndReason, act: Act) -> bool:
    # One that ran out is ended all the same: an access token of it may still be good.
    if session.is_ended:
        return False
    records.sessions.update(session.end(reason, at=act.at))
    records.revocations.append(revoked_session(session.sid, at=act.at))
    records.security_events.append(
        act.done(SecurityEventKind.SESSION_ENDED, sub=session.sub, sid=session.sid, reason=str(reason))
    )
    return True
