"""Password links: made by an operator, used once by the account's owner, who alone knows the password (ASVS 6.4.6).

Making, using and ending links hold the account, so they come one after the other on whatever process they happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from auth_service.identity.accounts import Proof, own_words, refuse_owner
from auth_service.identity.devices import Devices
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import end_sessions
from auth_service.identity.throttle import FREE
from auth_service.model.account import Account
from auth_service.model.caller import NOWHERE, Caller
from auth_service.model.password_link import LinkEnd, LinkToken, PasswordLink
from auth_service.model.security_event import OPERATOR, Act, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records, Storage
from shared.clock import Clock

MAX_RECORDED = 4_096
"""Dead links whose refusal this process remembers to have recorded."""


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A new link: what its owner is to be given, and until when it works."""

    token: LinkToken
    expires_at: float


@dataclass(frozen=True, slots=True)
class LinkUse:
    """A password chosen with a link, as it was sent; `devices` as in `Credentials`."""

    presented_token: str = field(repr=False)
    new_password: str = field(repr=False)
    devices: str = field(default="", repr=False)


class PasswordLinks:
    """Makes links and lets each be used once. Every method raises DatabaseUnavailable when storage fails."""

    def __init__(
        self, storage: Storage, hasher: PasswordHasher, policy: PasswordPolicy, devices: Devices, clock: Clock
    ) -> None:
        self._storage = storage
        self._hasher = hasher
        self._policy = policy
        self._devices = devices
        self._clock = clock
        self._recorded: dict[tuple[bytes, LinkEnd], None] = {}

    async def make(self, sub: str, *, lifetime: float) -> MadeLink | None:
        """A link that works for `lifetime` seconds; those before it are void. None when the account is closed."""
        token, act = LinkToken.new(), Act(self._clock.now(), NOWHERE, OPERATOR)
        made = MadeLink(token, act.at + lifetime)
        return made if await self._storage.write(lambda records: _make(records, sub, made, act)) else None

    async def owner(self, presented_token: str) -> Account | None:
        """Whose password the link sets; None when it does not work. Looking at a link leaves it as it is."""
        token = LinkToken.parse(presented_token)
        if token is None:
            return None
        link, account = await self._storage.read(lambda records: _find(records, token))
        if link is None or account is None or link.end(account, at=self._clock.now()) is not None:
            return None
        return account

    async def use(self, use: LinkUse, caller: Caller) -> Proof | None:
        """Set the password, end every session, and have the link used up; None when the link does not work.

        It is looked at before anything is hashed. WeakPassword, and Unavailable where too many hashes wait, leave it
        as it is.
        """
        token = LinkToken.parse(use.presented_token)
        if token is None:
            return None
        act = Act(self._clock.now(), caller)
        link, account = await self._storage.read(lambda records: _find(records, token))
        if link is None or account is None:
            return None
        end = link.end(account, at=act.at)
        if end is not None:
            if self._is_news(token.hash, end):
                await self._storage.write(lambda records: _refuse(records, account.sub, end, act))
            return None
        self._policy.check(use.new_password, own_words(account.username_key, account.email))
        new_hash = await self._hasher.hash(use.new_password)
        changed = await self._storage.write(lambda records: _use(records, token, new_hash, act))
        if changed is None:
            return None
        return Proof(changed, FREE, self._devices.remember(use.devices, changed, at=act.at))

    def _is_news(self, token_hash: bytes, end: LinkEnd) -> bool:
        """Whether the refusal is to be recorded: once for each link and reason, or a dead link could fill the trail."""
        if (token_hash, end) in self._recorded:
            return False
        if len(self._recorded) >= MAX_RECORDED:
            self._recorded.pop(next(iter(self._recorded)))
        self._recorded[token_hash, end] = None
        return True


def _make(records: Records, sub: str, made: MadeLink, act: Act) -> bool:
    account = records.accounts.hold(sub)
    if account is None or not account.is_active:
        return False
    records.password_links.end_all(sub, LinkEnd.SUPERSEDED, at=act.at)
    link = PasswordLink(made.token.hash, sub, account.password_changed_at, act.at, made.expires_at)
    records.password_links.add(link)
    lifetime = str(round(made.expires_at - act.at))
    records.security_events.append(act.done(SecurityEventKind.PASSWORD_LINK_MADE, sub=sub, lifetime=lifetime))
    return True


def _find(records: Records, token: LinkToken) -> tuple[PasswordLink | None, Account | None]:
    link = records.password_links.find(token.hash)
    return link, None if link is None else records.accounts.find(link.sub)


def _use(records: Records, token: LinkToken, new_hash: str, act: Act) -> Account | None:
    found = records.password_links.find(token.hash)
    account = None if found is None else records.accounts.hold(found.sub)
    # Read once more: whoever held the account before us may have ended it.
    link = records.password_links.find(token.hash)
    if link is None or account is None:
        return None
    end = link.end(account, at=act.at)
    if end is None and not records.password_links.use(token.hash, at=act.at):
        end = LinkEnd.USED
    if end is not None:
        _refuse(records, account.sub, end, act)
        return None
    changed = account.with_password(new_hash, at=act.at)
    records.accounts.update(changed)
    owner = Act(act.at, act.caller, account.sub)
    records.security_events.append(owner.done(SecurityEventKind.PASSWORD_LINK_USED, sub=account.sub))
    records.security_events.append(owner.done(SecurityEventKind.PASSWORD_CHANGED, sub=account.sub))
    end_sessions(records, account.sub, EndReason.PASSWORD_CHANGED, owner)
    return changed


def _refuse(records: Records, sub: str, end: LinkEnd, act: Act) -> None:
    refuse_owner(records, sub, act.refused(SecurityEventKind.PASSWORD_LINK_REFUSED, sub=sub, reason=str(end)))
