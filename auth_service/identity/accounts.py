"""Accounts: made, recognised by name and password, given another password."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from auth_service.identity.password_policy import PasswordPolicy, WeakPassword
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import end_sessions
from auth_service.identity.throttle import FREE, Paid, SignInAttempt, Throttle
from auth_service.identity.usernames import read_username, username_key
from auth_service.model.account import Account, AccountState, new_subject
from auth_service.model.caller import NOWHERE, Caller
from auth_service.model.security_event import OPERATOR, Act, SecurityEvent, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records, Storage
from shared.clock import Clock
from shared.errors import Conflict, InvalidRequest, Unavailable

__all__ = ["Accounts", "Credentials", "PasswordChange", "Proof", "Registration", "UsernameTaken", "WeakPassword"]

MAX_EMAIL_CHARACTERS = 254
"""The longest address that fits in SMTP's path (RFC 5321 section 4.5.3.1.3)."""
MAX_NAME_CHARACTERS = 200
"""A person's display name; ours."""

log = structlog.get_logger(__name__)


class UsernameTaken(Conflict):
    """An account has this name, or one that looks the same."""

    code = "username_taken"


@dataclass(frozen=True, slots=True)
class Registration:
    """What a new account is to be made of, as it was sent; without a password its owner chooses one by a link."""

    username: str
    password: str | None = field(repr=False)
    email: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What somebody presents to sign in, as it was sent; `devices` are the device tokens, empty for none."""

    username: str
    password: str = field(repr=False)
    devices: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """Who asks in which session for another password: the one to be proved and the one to follow, as they were sent.

    `devices` as in `Credentials`.
    """

    sub: str
    sid: str
    presented: str = field(repr=False)
    new: str = field(repr=False)
    devices: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """Somebody has just proved to be the owner of an account.

    `paid` is to be refunded with what the proof is used for. `devices` is what the device is to keep, None for what
    it has already.
    """

    account: Account
    paid: Paid
    devices: str | None = field(repr=False)


class Accounts:
    """Makes accounts and checks passwords; every change and its security event are one transaction.

    What costs a hash is charged to the throttle first, so any of it may raise TooManyRequests; and Unavailable where
    too many hashes wait. A charge does not wait for the disk: it grants nothing, and a sign-in waits once, at its end.
    """

    def __init__(
        self, storage: Storage, hasher: PasswordHasher, policy: PasswordPolicy, throttle: Throttle, clock: Clock
    ) -> None:
        self._storage = storage
        self._hasher = hasher
        self._policy = policy
        self._throttle = throttle
        self._clock = clock

    async def find(self, sub: str) -> Account | None:
        """The account with this subject."""
        return await self._storage.read(lambda records: records.accounts.find(sub))

    async def register(self, registration: Registration, caller: Caller, *, by_operator: bool = False) -> Account:
        """Make an account; an operator's are not counted by the throttle.

        Raises InvalidRequest for a name, e-mail address or display name that cannot be, WeakPassword, and last
        UsernameTaken: who sends a weak password does not learn which names exist.
        """
        now = self._clock.now()
        if not by_operator:
            # First, for the checks below work on the event loop, and who fails them is not charged.
            await self._storage.read(lambda records: self._throttle.require_registration(records, caller, now))
        username = read_username(registration.username)
        email = _checked_email(registration.email)
        name = _checked_name(registration.name)
        if registration.password is not None:
            self._policy.check(registration.password, own_words(username.key, email))
        self._hasher.require_room()
        if not by_operator:
            await self._storage.write(
                lambda records: self._throttle.charge_registration(records, caller, now), durable=False
            )
        account = Account(
            sub=new_subject(),
            username=username.text,
            username_key=username.key,
            lookalike_key=username.lookalike_key,
            password_hash=None if registration.password is None else await self._hasher.hash(registration.password),
            email=email,
            email_verified=False,
            name=name,
            state=AccountState.ACTIVE,
            created_at=now,
            password_changed_at=now,
        )
        act = Act(now, caller, actor=OPERATOR if by_operator else account.sub)
        if not await self._storage.write(lambda records: _add(records, account, act)):
            raise UsernameTaken("This user name is taken, or looks like one that is.")
        return account

    async def authenticate(self, presented: Credentials, caller: Caller) -> Proof | None:
        """The account that these credentials prove, or None.

        Unknown name, wrong password, disabled account, no password: the same work and the same answer
        (ASVS 5.0 6.3.8); only the audit trail knows the reason.
        """
        key = username_key(presented.username)
        attempt = SignInAttempt(
            presented.username if key is None else key, caller, presented.devices, self._clock.now()
        )

        def begin(records: Records) -> tuple[Account | None, Paid]:
            # No account has an empty key, so a name that nobody can have is looked up like any other.
            account = records.accounts.find_by_username_key(key or "")
            return account, self._throttle.charge_sign_in(records, attempt, account)

        self._hasher.require_room()
        account, paid = await self._storage.write(begin, durable=False)
        matches = await self._verify(account.password_hash if account else None, presented.password, paid)
        if account is not None and account.is_active and matches:
            account = await self._rehashed(account, presented.password)
            devices = self._throttle.devices.remember(presented.devices, account, at=attempt.at)
            return Proof(account, paid, devices)
        act = Act(self._clock.now(), caller)
        await self._storage.write(lambda records: _refuse_sign_in(records, account, matches, act, paid))
        return None

    async def change_password(self, change: PasswordChange, caller: Caller) -> Proof | None:
        """Replace the password and end every session but the one it is asked for in.

        None when the presented one is wrong, or when the session is over by the time that the change is stored. Raises
        WeakPassword for the new one, once the presented one is proved.
        """
        act = Act(self._clock.now(), caller, actor=change.sub)

        def begin(records: Records) -> tuple[Account | None, Paid]:
            account = records.accounts.find(change.sub)
            return account, self._throttle.charge_password_change(records, change.sub, change.sid, act.at)

        self._hasher.require_room()
        account, paid = await self._storage.write(begin, durable=False)
        if not await self._verify(account.password_hash if account else None, change.presented, paid):
            refusal = act.refused(SecurityEventKind.PASSWORD_CHANGE_REFUSED, sub=change.sub, **_emptied(paid))
            await self._storage.write(lambda records: refuse_owner(records, change.sub, refusal))
            return None
        assert account is not None  # noqa: S101 - nothing matches where there is no account
        await self._refund(paid)
        self._policy.check(change.new, own_words(account.username_key, account.email))
        new_hash = await self._hasher.hash(change.new)
        changed = await self._storage.write(
            lambda records: _change_password(records, account, new_hash, change.sid, act)
        )
        if changed is None:
            return None
        return Proof(changed, FREE, self._throttle.devices.remember(change.devices, changed, at=act.at))

    async def _verify(self, password_hash: str | None, presented_password: str, paid: Paid) -> bool:
        try:
            return await self._hasher.verify(password_hash, presented_password)
        except Unavailable:
            # Nothing was learned from it.
            await self._refund(paid)
            raise

    async def _refund(self, paid: Paid) -> None:
        now = self._clock.now()
        await self._storage.write(lambda records: paid.refund(records, at=now), durable=False)

    async def _rehashed(self, account: Account, password: str) -> Account:
        """The account, its hash brought under today's profile when it was made under another."""
        if account.password_hash is None or not self._hasher.needs_rehash(account.password_hash):
            return account
        act = Act(self._clock.now(), NOWHERE, actor=account.sub)
        try:
            new_hash = await self._hasher.hash(password)
            await self._storage.write(lambda records: _rehash(records, account, new_hash, act))
        except Unavailable:
            log.info("rehash_postponed", sub=account.sub)
            return account
        return account.with_rehashed_password(new_hash)


def _add(records: Records, account: Account, act: Act) -> bool:
    added = records.accounts.add(account)
    if added:
        records.security_events.append(act.done(SecurityEventKind.ACCOUNT_REGISTERED, sub=account.sub))
    return added


def _change_password(records: Records, proved: Account, new_hash: str, keep_sid: str, act: Act) -> Account | None:
    held = records.accounts.hold(proved.sub)
    if held is None:
        return None
    # What was proved must still be in force: another change, or a disabling, may have come first.
    if not held.is_active or held.password_changed_at != proved.password_changed_at:
        records.security_events.append(act.refused(SecurityEventKind.PASSWORD_CHANGE_REFUSED, sub=proved.sub))
        return None
    # So must the session that asks, behind its account as everywhere: whoever ended it meanwhile, because somebody else
    # is in it perhaps, was told so.
    session = records.sessions.hold(keep_sid)
    if session is None or session.sub != held.sub or not session.is_live(act.at):
        kind = SecurityEventKind.PASSWORD_CHANGE_REFUSED
        records.security_events.append(act.refused(kind, sub=held.sub, sid=keep_sid, reason="session_over"))
        return None
    changed = held.with_password(new_hash, at=act.at)
    records.accounts.update(changed)
    records.security_events.append(act.done(SecurityEventKind.PASSWORD_CHANGED, sub=held.sub))
    end_sessions(records, held.sub, EndReason.PASSWORD_CHANGED, act, except_sid=keep_sid)
    return changed


def _rehash(records: Records, proved: Account, new_hash: str, act: Act) -> None:
    held = records.accounts.hold(proved.sub)
    if held is not None and held.password_hash == proved.password_hash:
        records.accounts.update(held.with_rehashed_password(new_hash))
        records.security_events.append(act.done(SecurityEventKind.PASSWORD_REHASHED, sub=held.sub))


def refuse_owner(records: Records, sub: str, refusal: SecurityEvent) -> None:
    """Note what was refused to who claims to own the account; nothing where that was deleted meanwhile.

    It is held, so that a deletion comes before this or finds what it has to make a pseudonym.
    """
    if records.accounts.hold(sub) is not None:
        records.security_events.append(refusal)


def _refuse_sign_in(records: Records, found: Account | None, matches: bool, act: Act, paid: Paid) -> None:
    # As in `refuse_owner`; nobody has an empty subject, so an unknown name is looked up like any other.
    held = records.accounts.hold("" if found is None else found.sub)
    records.security_events.append(
        act.refused(
            SecurityEventKind.SIGN_IN_REFUSED,
            sub=None if held is None else held.sub,
            reason=_sign_in_refusal(held, matches),
            **_emptied(paid),
        )
    )


def _sign_in_refusal(account: Account | None, matches: bool) -> str:
    if account is None:
        return "unknown_name"
    return "wrong_password" if not matches else "account_disabled"


def _emptied(paid: Paid) -> dict[str, str]:
    """For the audit trail: the budgets that this failure has emptied."""
    return {"budget_spent": " ".join(dict.fromkeys(paid.emptied))} if paid.emptied else {}


def own_words(username_key: str, email: str | None) -> Sequence[str]:
    return [username_key, *(email or "").split("@")]


def _checked_email(email: str | None) -> str | None:
    """`email` when it has the form of one; whether it is the person's is another question (`email_verified`)."""
    if email is None:
        return None
    local, at, domain = email.rpartition("@")
    if not (local and at and domain) or len(email) > MAX_EMAIL_CHARACTERS or not email.isprintable() or " " in email:
        raise InvalidRequest("The e-mail address does not have the form of one.")
    return email


def _checked_name(name: str | None) -> str | None:
    if name is not None and not (0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()):
        raise InvalidRequest(f"The name must have 1 to {MAX_NAME_CHARACTERS} printable characters.")
    return name
