"""Accounts: made, recognised, given another password; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from auth_service.identity.accounts import (
    Accounts,
    Credentials,
    PasswordChange,
    Registration,
    UsernameTaken,
    WeakPassword,
)
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import Ending, Sessions
from auth_service.identity.throttle import Throttle
from auth_service.identity.usernames import InvalidUsername
from auth_service.model.account import Account
from auth_service.model.security_event import Act, SecurityEvent, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.errors import InvalidRequest
from tests.auth_service.identity.hashing import CHEAP, OLDER
from tests.auth_service.stored import CALLER, GRANT, NOW, POLICY
from tests.clock import FrozenClock

PASSWORD = "correct horse battery"
NEW_PASSWORD = "battery staple correct"


@pytest.fixture
async def alice(accounts: Accounts) -> Account:
    return await accounts.register(Registration("Alice", PASSWORD, "alice@example.org", "Alice A."), CALLER)


@pytest.fixture
async def older_hasher() -> AsyncIterator[PasswordHasher]:
    """What a former release hashed with."""
    opened = PasswordHasher(threads=1, queue_length=10, profile=OLDER)
    yield opened
    await opened.close()


async def events(storage: SqlStorage) -> Sequence[SecurityEvent]:
    return await storage.read(lambda records: records.security_events.newest())


async def signed_in(accounts: Accounts, username: str, password: str) -> Account | None:
    """The account that name and password prove."""
    proof = await accounts.authenticate(Credentials(username, password), CALLER)
    return None if proof is None else proof.account


async def new_session(sessions: Sessions, account: Account) -> str:
    """The id of a session that was opened for it."""
    opened = await sessions.open(account, GRANT, CALLER)
    assert opened is not None
    return opened.session.sid


async def store(storage: SqlStorage, account: Account) -> None:
    await storage.write(lambda records: records.accounts.update(account))


async def test_a_registered_account_is_stored_with_its_event(
    accounts: Accounts, alice: Account, storage: SqlStorage
) -> None:
    """The account is as asked for, its e-mail address unverified, its password a hash, and the trail knows of it."""
    assert await accounts.find(alice.sub) == alice
    assert (alice.username, alice.username_key) == ("Alice", "alice")
    assert (alice.email, alice.email_verified, alice.name) == ("alice@example.org", False, "Alice A.")
    assert alice.password_hash is not None
    assert alice.password_hash.startswith("$argon2id$")
    registered = Act(NOW, CALLER, alice.sub).done(SecurityEventKind.ACCOUNT_REGISTERED, sub=alice.sub)
    assert await events(storage) == [registered]


@pytest.mark.parametrize(
    "username",
    ["Alice", "ALICE", "\N{CYRILLIC SMALL LETTER A}lice", "al\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}ce"],
)
async def test_a_name_that_exists_or_looks_like_one_is_taken(
    accounts: Accounts, alice: Account, storage: SqlStorage, username: str
) -> None:
    """No second account, no event, and the first keeps its password."""
    with pytest.raises(UsernameTaken, match="taken"):
        await accounts.register(Registration(username, NEW_PASSWORD), CALLER)
    assert len(await events(storage)) == 1
    assert await signed_in(accounts, "alice", PASSWORD) == alice


async def test_a_weak_password_does_not_tell_which_names_exist(accounts: Accounts, alice: Account) -> None:
    """The password is judged before the name is looked up."""
    for username in ("alice", "nobody"):
        with pytest.raises(WeakPassword):
            await accounts.register(Registration(username, "password"), CALLER)


async def test_the_own_name_and_address_make_no_password(accounts: Accounts) -> None:
    """What the account is called is part of the check."""
    for password in ("wonder-Wonder", "Wonder99", "rabbit01", "rabbit@hole.example"):
        with pytest.raises(WeakPassword, match="Apart from"):
            await accounts.register(Registration("Wonder", password, "rabbit@hole.example"), CALLER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": ""},
        {"email": "alice"},
        {"email": "@example.org"},
        {"email": "alice@"},
        {"email": "al ice@example.org"},
        {"email": "alice@example.org\r\nBcc: x@example.org"},
        {"email": "alice@exa\x00mple.org"},
        {"email": "\ud800@example.org"},
        {"email": "a" * 243 + "@example.org"},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "\ud800"},
    ],
)
async def test_what_cannot_be_stored_or_mailed_is_refused(accounts: Accounts, wrong: dict[str, str]) -> None:
    """Control characters, NUL and lone surrogates reach neither database nor mail header."""
    with pytest.raises(InvalidRequest):
        await accounts.register(Registration("alice", PASSWORD, **wrong), CALLER)


async def test_a_name_that_cannot_be_is_refused(accounts: Accounts) -> None:
    """Registration says so; sign-in treats it like any unknown name."""
    with pytest.raises(InvalidUsername):
        await accounts.register(Registration("al ice", PASSWORD), CALLER)
    assert await signed_in(accounts, "al ice", PASSWORD) is None
    assert await signed_in(accounts, "\ud800", "\ud800") is None


async def test_registrations_of_one_name_have_one_winner(
    accounts: Accounts,
    second_database: Database,
    hasher: PasswordHasher,
    password_policy: PasswordPolicy,
    throttle: Throttle,
    clock: FrozenClock,
) -> None:
    """Spellings of one name, registered at once over two processes' connections: one account, only its password."""
    other = Accounts(SqlStorage(second_database), hasher, password_policy, throttle, clock)
    spellings = ["alice", "ALICE", "Alice", "\N{CYRILLIC SMALL LETTER A}lice"] * 5
    attempts = [
        (accounts, other)[index % 2].register(Registration(spelling, f"password of {index}"), CALLER)
        for index, spelling in enumerate(spellings)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    winners = [result for result in results if isinstance(result, Account)]
    assert len(winners) == 1
    assert sum(isinstance(result, UsernameTaken) for result in results) == len(spellings) - 1
    won = results.index(winners[0])
    assert await signed_in(accounts, spellings[won], f"password of {won}") == winners[0]


@pytest.mark.parametrize("typed", ["alice", "ALICE", "\uff21lice"])
async def test_any_spelling_of_the_name_signs_in(accounts: Accounts, alice: Account, typed: str) -> None:
    """Letter case and width do not matter in the name."""
    assert await signed_in(accounts, typed, PASSWORD) == alice


async def test_a_name_that_only_looks_the_same_does_not_sign_in(accounts: Accounts, alice: Account) -> None:
    """Looking alike keeps names apart; it never joins them."""
    assert await signed_in(accounts, "\N{CYRILLIC SMALL LETTER A}lice", PASSWORD) is None


@pytest.mark.parametrize("presented", [PASSWORD.upper(), PASSWORD + " ", "", "x" * 2_000, "\ud800"])
async def test_a_wrong_password_is_refused_and_remembered(
    accounts: Accounts, alice: Account, storage: SqlStorage, presented: str
) -> None:
    """The trail says whose account and why, and holds nothing that was sent."""
    assert await signed_in(accounts, "alice", presented) is None
    refusal = Act(NOW, CALLER).refused(SecurityEventKind.SIGN_IN_REFUSED, sub=alice.sub, reason="wrong_password")
    assert (await events(storage))[0] == refusal


async def test_an_unknown_name_is_refused_and_not_remembered(accounts: Accounts, storage: SqlStorage) -> None:
    """The event does not hold the name: people type passwords there."""
    assert await signed_in(accounts, "hunter2-is-my-password", PASSWORD) is None
    refusal = Act(NOW, CALLER).refused(SecurityEventKind.SIGN_IN_REFUSED, reason="unknown_name")
    assert await events(storage) == [refusal]


async def test_a_disabled_account_does_not_sign_in(accounts: Accounts, alice: Account, storage: SqlStorage) -> None:
    """Not with the right password either, and trying does not enable it (hostile case: CVE-2026-43983)."""
    await store(storage, alice.disabled())
    assert await signed_in(accounts, "alice", PASSWORD) is None
    assert (await events(storage))[0].detail == {"reason": "account_disabled"}
    assert await accounts.find(alice.sub) == alice.disabled()


@pytest.mark.parametrize("presented", ["", "null", "None", PASSWORD])
async def test_an_account_without_password_does_not_sign_in_with_one(
    accounts: Accounts, alice: Account, storage: SqlStorage, presented: str
) -> None:
    """No string proves it (hostile case: CVE-2026-41571)."""
    await store(storage, replace(alice, password_hash=None))
    assert await signed_in(accounts, "alice", presented) is None


async def test_a_sign_in_brings_the_hash_under_todays_profile(
    accounts: Accounts, alice: Account, storage: SqlStorage, hasher: PasswordHasher, older_hasher: PasswordHasher
) -> None:
    """A right password under an older profile is hashed anew; sessions and the instant of change stay."""
    await store(storage, alice.with_rehashed_password(await older_hasher.hash(PASSWORD)))
    account = await signed_in(accounts, "alice", PASSWORD)
    stored = await accounts.find(alice.sub)
    assert stored == account
    assert stored is not None
    assert stored.password_hash is not None
    assert not hasher.needs_rehash(stored.password_hash)
    assert stored.password_changed_at == alice.password_changed_at
    assert await signed_in(accounts, "alice", PASSWORD) == stored
    assert [event.kind for event in await events(storage)].count(SecurityEventKind.PASSWORD_REHASHED) == 1


async def test_a_wrong_password_rehashes_nothing(
    accounts: Accounts, alice: Account, storage: SqlStorage, older_hasher: PasswordHasher
) -> None:
    """Only who proves the password moves its hash."""
    older = alice.with_rehashed_password(await older_hasher.hash(PASSWORD))
    await store(storage, older)
    assert await signed_in(accounts, "alice", "wrong") is None
    assert await accounts.find(alice.sub) == older


async def test_simultaneous_sign_ins_under_an_older_profile_all_succeed(
    accounts: Accounts, alice: Account, sessions: Sessions, storage: SqlStorage, older_hasher: PasswordHasher
) -> None:
    """Each proves the same password; that one of them stores a new hash does not shut the others out."""
    await store(storage, alice.with_rehashed_password(await older_hasher.hash(PASSWORD)))

    async def sign_in() -> bool:
        account = await signed_in(accounts, "alice", PASSWORD)
        return account is not None and await sessions.open(account, GRANT, CALLER) is not None

    assert all(await asyncio.gather(*(sign_in() for _ in range(10))))


async def test_a_full_queue_postpones_the_rehash_and_not_the_sign_in(
    storage: SqlStorage,
    accounts: Accounts,
    alice: Account,
    older_hasher: PasswordHasher,
    password_policy: PasswordPolicy,
    throttle: Throttle,
) -> None:
    """The password was proved; its new hash can wait for the next time."""
    older = alice.with_rehashed_password(await older_hasher.hash(PASSWORD))
    await store(storage, older)
    narrow = PasswordHasher(threads=1, queue_length=0, profile=CHEAP)
    verify = narrow.verify

    async def verify_and_fill(password_hash: str | None, presented_password: str) -> bool:
        matches = await verify(password_hash, presented_password)
        narrow.pending = 1
        return matches

    narrow.verify = verify_and_fill  # type: ignore[method-assign]
    busy = Accounts(storage, narrow, password_policy, throttle, FrozenClock(NOW))
    assert await signed_in(busy, "alice", PASSWORD) == older
    assert await accounts.find(alice.sub) == older
    await narrow.close()


async def test_a_changed_password_ends_the_other_sessions(
    accounts: Accounts, alice: Account, sessions: Sessions, storage: SqlStorage
) -> None:
    """Only the new password signs in; the session that asked goes on, every other one is over (CVE-2026-34828)."""
    kept, other = [await sessions.open(alice, GRANT, CALLER) for _ in range(2)]
    assert kept is not None
    assert other is not None
    change = PasswordChange(alice.sub, kept.session.sid, PASSWORD, NEW_PASSWORD)
    assert await accounts.change_password(change, CALLER)
    assert await signed_in(accounts, "alice", PASSWORD) is None
    assert await signed_in(accounts, "alice", NEW_PASSWORD) == await accounts.find(alice.sub)
    assert [one.sid for one in await sessions.live_of(alice.sub)] == [kept.session.sid]
    ended = await storage.read(lambda records: records.sessions.find(other.session.sid))
    assert ended is not None
    assert ended.end_reason is EndReason.PASSWORD_CHANGED
    kinds = [event.kind for event in await events(storage)]
    assert kinds[1:3] == [SecurityEventKind.SESSION_ENDED, SecurityEventKind.PASSWORD_CHANGED]


async def test_a_password_is_changed_only_by_who_knows_it(
    accounts: Accounts, alice: Account, sessions: Sessions, storage: SqlStorage
) -> None:
    """A wrong present password changes nothing and is remembered; the quality of the new one is not even told."""
    await sessions.open(alice, GRANT, CALLER)
    change = PasswordChange(alice.sub, "none", "wrong", "short")
    assert not await accounts.change_password(change, CALLER)
    assert await accounts.find(alice.sub) == alice
    assert len(await sessions.live_of(alice.sub)) == 1
    assert (await events(storage))[0].kind is SecurityEventKind.PASSWORD_CHANGE_REFUSED


async def test_a_password_is_changed_only_in_a_session_of_the_account_that_goes_on(
    accounts: Accounts, alice: Account, sessions: Sessions, storage: SqlStorage, clock: FrozenClock
) -> None:
    """Not in one that was ended, ran out, is somebody else's or nobody's; the right password changes nothing there."""
    bob = await accounts.register(Registration("bob", PASSWORD), CALLER)
    expired = await new_session(sessions, alice)
    clock.advance(POLICY.idle_timeout)
    ended, kept = [await new_session(sessions, alice) for _ in range(2)]
    assert await sessions.end(ended, Ending(EndReason.LOGOUT, alice.sub, CALLER))
    for sid in (expired, ended, await new_session(sessions, bob), "none"):
        assert not await accounts.change_password(PasswordChange(alice.sub, sid, PASSWORD, NEW_PASSWORD), CALLER)
        refusal = (await events(storage))[0]
        assert (refusal.kind, refusal.sub) == (SecurityEventKind.PASSWORD_CHANGE_REFUSED, alice.sub)
        assert (refusal.sid, refusal.detail) == (sid, {"reason": "session_over"})
    assert await accounts.find(alice.sub) == alice
    assert [one.sid for one in await sessions.live_of(alice.sub)] == [kept]


async def test_a_new_password_is_held_to_the_same_rules(accounts: Accounts, alice: Account) -> None:
    """Weak ones are refused with their reason, and the old one stays."""
    for new in ("short", "password1", "alice-2026", "alice@example.org"):
        with pytest.raises(WeakPassword):
            await accounts.change_password(PasswordChange(alice.sub, "none", PASSWORD, new), CALLER)
    assert await accounts.find(alice.sub) == alice


async def test_of_two_changes_at_once_one_counts(accounts: Accounts, alice: Account, sessions: Sessions) -> None:
    """Both proved the old password, the second to come is refused: what it proved is no longer in force."""
    sid = await new_session(sessions, alice)
    changes = [PasswordChange(alice.sub, sid, PASSWORD, f"a new one, number {number}") for number in range(6)]
    done = await asyncio.gather(*(accounts.change_password(change, CALLER) for change in changes))
    [won] = [number for number, proof in enumerate(done) if proof is not None]
    assert await signed_in(accounts, "alice", changes[won].new) is not None


async def test_a_sign_in_that_a_password_change_overtook_opens_no_session(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """Proved with the old password, opened after the change: no session. Else the change would not have ended it."""
    proved = await signed_in(accounts, "alice", PASSWORD)
    assert proved is not None
    change = PasswordChange(alice.sub, await new_session(sessions, alice), PASSWORD, NEW_PASSWORD)
    assert await accounts.change_password(change, CALLER)
    assert await sessions.open(proved, GRANT, CALLER) is None
