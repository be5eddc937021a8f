"""What an operator does with accounts and sessions: look, disable, enable, delete, set a password, end sessions.

Each is one transaction with its security event. What takes access away ends refresh at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auth_service.identity.accounts import own_words
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import end_sessions
from auth_service.identity.usernames import username_key
from auth_service.model.account import Account
from auth_service.model.caller import NOWHERE
from auth_service.model.password_link import LinkEnd
from auth_service.model.revocation import revoked_account
from auth_service.model.security_event import OPERATOR, Act, SecurityEvent, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records, Storage
from shared.clock import Clock


class AccountAdministration:
    """The operator's view of accounts. Every method raises DatabaseUnavailable when storage fails."""

    def __init__(self, storage: Storage, hasher: PasswordHasher, policy: PasswordPolicy, clock: Clock) -> None:
        self._storage = storage
        self._hasher = hasher
        self._policy = policy
        self._clock = clock

    async def find(self, presented_username: str) -> Account | None:
        """The account that signs in under this name, however it is spelt."""
        key = username_key(presented_username)
        if key is None:
            return None
        return await self._storage.read(lambda records: records.accounts.find_by_username_key(key))

    async def listing(self, *, after_key: str, limit: int) -> Sequence[Account]:
        """Up to `limit` accounts behind `after_key`, in the order of their names."""
        return await self._storage.read(lambda records: records.accounts.list(after_key=after_key, limit=limit))

    async def disable(self, sub: str) -> bool:
        """Close the account to sign-ins and end its sessions; False when there is none, or it is disabled already."""

        def work(records: Records, account: Account, act: Act) -> bool:
            if not account.is_active:
                return False
            records.accounts.update(account.disabled())
            records.password_links.end_all(sub, LinkEnd.ACCOUNT_DISABLED, at=act.at)
            records.security_events.append(act.done(SecurityEventKind.ACCOUNT_DISABLED, sub=sub))
            end_sessions(records, sub, EndReason.ACCOUNT_DISABLED, act)
            records.revocations.append(revoked_account(sub, at=act.at, for_good=False))
            return True

        return await self._change(sub, work)

    async def enable(self, sub: str) -> bool:
        """Let the account sign in again; its former sessions stay ended."""

        def work(records: Records, account: Account, act: Act) -> bool:
            if account.is_active:
                return False
            records.accounts.update(account.enabled())
            records.security_events.append(act.done(SecurityEventKind.ACCOUNT_ENABLED, sub=sub))
            return True

        return await self._change(sub, work)

    async def delete(self, sub: str) -> bool:
        """Remove the account and all that refers to it; the audit trail keeps its events under a pseudonym."""

        def work(records: Records, account: Account, act: Act) -> bool:
            end_sessions(records, sub, EndReason.ACCOUNT_DELETED, act)
            records.revocations.append(revoked_account(sub, at=act.at, for_good=True))
            records.security_events.append(act.done(SecurityEventKind.ACCOUNT_DELETED, sub=sub))
            records.accounts.delete(account.sub)
            records.security_events.pseudonymise(sub)
            return True

        return await self._change(sub, work)

    async def set_password(self, account: Account, new_password: str) -> bool:
        """Replace the password and end every session; WeakPassword when it must not be chosen."""
        self._policy.check(new_password, own_words(account.username_key, account.email))
        password_hash = await self._hasher.hash(new_password)

        def work(records: Records, held: Account, act: Act) -> bool:
            records.accounts.update(held.with_password(password_hash, at=act.at))
            records.security_events.append(act.done(SecurityEventKind.PASSWORD_CHANGED, sub=held.sub))
            end_sessions(records, held.sub, EndReason.PASSWORD_CHANGED, act)
            return True

        return await self._change(account.sub, work)

    async def events(self, *, sub: str | None, since: float, limit: int) -> Sequence[SecurityEvent]:
        """The audit trail, newest first, of one account or of all."""
        return await self._storage.read(
            lambda records: records.security_events.newest(sub=sub, since=since, limit=limit)
        )

    async def _change(self, sub: str, work: Callable[[Records, Account, Act], bool]) -> bool:
        act = Act(self._clock.now(), NOWHERE, OPERATOR)

        def whole(records: Records) -> bool:
            account = records.accounts.hold(sub)
            return account is not None and work(records, account, act)

        return await self._storage.write(whole)
