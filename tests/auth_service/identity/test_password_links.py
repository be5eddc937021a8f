"""Password links: made, used once, void for every reason there is; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auth_service.identity.accounts import Accounts, Credentials, Registration, WeakPassword
from auth_service.identity.administration import AccountAdministration
from auth_service.identity.devices import Devices
from auth_service.identity.password_links import LinkUse, MadeLink, PasswordLinks
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import Sessions
from auth_service.identity.throttle import Throttle
from auth_service.model.account import Account
from auth_service.model.caller import NOWHERE
from auth_service.model.password_link import LinkToken
from auth_service.model.security_event import Outcome, SecurityEvent, SecurityEventKind
from auth_service.model.session import EndReason
from auth_service.model.storage import Records
from auth_service.storage.storage import SqlStorage
from shared.database import Database
from shared.errors import Unavailable
from shared.revocation_feed import RevokedKind
from tests.auth_service.identity.hashing import CHEAP
from tests.auth_service.stored import CALLER, GRANT
from tests.clock import FrozenClock

PASSWORD = "correct horse battery"
NEW_PASSWORD = "battery staple correct"
LIFETIME = 86_400.0


@pytest.fixture
def links(
    storage: SqlStorage,
    hasher: PasswordHasher,
    password_policy: PasswordPolicy,
    throttle: Throttle,
    clock: FrozenClock,
) -> PasswordLinks:
    return PasswordLinks(storage, hasher, password_policy, throttle.devices, clock)


@pytest.fixture
def administration(
    storage: SqlStorage, hasher: PasswordHasher, password_policy: PasswordPolicy, clock: FrozenClock
) -> AccountAdministration:
    return AccountAdministration(storage, hasher, password_policy, clock)


@pytest.fixture
async def alice(accounts: Accounts) -> Account:
    return await accounts.register(Registration("alice", PASSWORD, "alice@example.org"), CALLER)


async def made(links: PasswordLinks, owner: Account, lifetime: float = LIFETIME) -> MadeLink:
    """A new link; making it must work."""
    link = await links.make(owner.sub, lifetime=lifetime)
    assert link is not None
    return link


async def used(links: PasswordLinks, link: MadeLink, password: str = NEW_PASSWORD) -> bool:
    return await links.use(LinkUse(link.token.clear_text, password), CALLER) is not None


async def signs_in(accounts: Accounts, password: str, username: str = "alice") -> bool:
    return await accounts.authenticate(Credentials(username, password), CALLER) is not None


async def events(storage: SqlStorage, *kinds: SecurityEventKind) -> Sequence[SecurityEvent]:
    """The events of these kinds, the newest first."""
    newest = await storage.read(lambda records: records.security_events.newest())
    return [event for event in newest if event.kind in kinds]


async def refusals(storage: SqlStorage) -> list[str]:
    """Why links were refused, the newest first."""
    return [event.detail["reason"] for event in await events(storage, SecurityEventKind.PASSWORD_LINK_REFUSED)]


async def test_a_link_sets_the_password_once(
    links: PasswordLinks, accounts: Accounts, alice: Account, storage: SqlStorage
) -> None:
    """The new password is in force, the old one is not, and the link is used up, also for the same password. That it
    was tried again is recorded once: a dead link cannot fill the trail."""
    link = await made(links, alice)
    assert (owner := await links.owner(link.token.clear_text)) is not None
    assert owner.sub == alice.sub
    assert await used(links, link)
    assert await signs_in(accounts, NEW_PASSWORD)
    assert not await signs_in(accounts, PASSWORD)
    assert not await used(links, link)
    assert not await used(links, link, "yet another password")
    assert await links.owner(link.token.clear_text) is None
    assert await refusals(storage) == ["used"]


async def test_looking_at_a_link_leaves_it(links: PasswordLinks, alice: Account) -> None:
    """A mail scanner opens every link, and more than once."""
    link = await made(links, alice)
    for _ in range(5):
        assert await links.owner(link.token.clear_text) is not None
    assert await used(links, link)


async def test_an_account_gets_its_first_password_by_a_link(links: PasswordLinks, accounts: Accounts) -> None:
    """Made without a password, nobody can sign in to it; then with the one that its owner chose."""
    bob = await accounts.register(Registration("bob", None), NOWHERE, by_operator=True)
    assert bob.password_hash is None
    for password in ("", "None", PASSWORD):
        assert not await signs_in(accounts, password, "bob")
    assert await used(links, await made(links, bob))
    assert await signs_in(accounts, NEW_PASSWORD, "bob")


async def test_every_session_ends_and_the_feed_says_so(
    links: PasswordLinks, sessions: Sessions, alice: Account, storage: SqlStorage
) -> None:
    """All of them, in the transaction that changes the password; each is in the revocation feed."""
    opened = [await sessions.open(alice, GRANT, CALLER) for _ in range(3)]
    assert await used(links, await made(links, alice))
    assert await sessions.live_of(alice.sub) == []
    for one in opened:
        assert one is not None
        ended = await storage.read(lambda records, sid=one.session.sid: records.sessions.find(sid))  # type: ignore[misc]
        assert ended.end_reason is EndReason.PASSWORD_CHANGED
        assert await storage.read(
            lambda records, sid=one.session.sid: records.revocations.covers(RevokedKind.SESSION, sid)  # type: ignore[misc]
        )


async def test_a_link_makes_those_before_it_void(links: PasswordLinks, alice: Account, storage: SqlStorage) -> None:
    """Only the newest works (hostile cases, CVE-2024-41890)."""
    first, second, third = [await made(links, alice) for _ in range(3)]
    assert not await used(links, first)
    assert not await used(links, second)
    assert await used(links, third)
    assert await refusals(storage) == ["superseded", "superseded"]


async def test_a_link_has_a_lifetime(
    links: PasswordLinks, alice: Account, clock: FrozenClock, storage: SqlStorage
) -> None:
    """It works until just before its end, and not at it."""
    link = await made(links, alice, lifetime=600)
    assert link.expires_at == clock.now() + 600
    clock.advance(599.5)
    assert await links.owner(link.token.clear_text) is not None
    clock.advance(0.5)
    assert await links.owner(link.token.clear_text) is None
    assert not await used(links, link)
    assert await refusals(storage) == ["expired"]


async def test_another_change_of_password_makes_it_void(
    links: PasswordLinks, administration: AccountAdministration, alice: Account, storage: SqlStorage
) -> None:
    """Hostile cases, CVE-2026-26060: whoever set the password since did not mean to leave a second way in."""
    link = await made(links, alice)
    assert await administration.set_password(alice, "set by the operator")
    assert not await used(links, link)
    assert await refusals(storage) == ["password_changed"]


async def test_disabling_the_account_makes_it_void_for_good(
    links: PasswordLinks, administration: AccountAdministration, alice: Account, storage: SqlStorage
) -> None:
    """Enabling it again does not bring the link back; for a disabled account none is made."""
    link = await made(links, alice)
    await administration.disable(alice.sub)
    assert not await used(links, link)
    assert await links.make(alice.sub, lifetime=LIFETIME) is None
    await administration.enable(alice.sub)
    assert not await used(links, link)
    assert await refusals(storage) == ["account_disabled"]
    assert await used(links, await made(links, alice))


async def test_deleting_the_account_takes_it_along(
    links: PasswordLinks, administration: AccountAdministration, alice: Account
) -> None:
    """Then it is a link to nothing, and there is nobody to make one for."""
    link = await made(links, alice)
    await administration.delete(alice.sub)
    assert await links.owner(link.token.clear_text) is None
    assert not await used(links, link)
    assert await links.make(alice.sub, lifetime=LIFETIME) is None


async def test_a_link_whose_account_is_deleted_meanwhile_does_not_name_it_again(
    links: PasswordLinks,
    administration: AccountAdministration,
    alice: Account,
    storage: SqlStorage,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The deletion comes between the look at a dead link and its refusal, which then stands nowhere."""
    link, write = await made(links, alice), storage.write
    clock.advance(LIFETIME)

    async def write_too_late(work: Callable[[Records], Any]) -> Any:
        monkeypatch.setattr(storage, "write", write)
        assert await administration.delete(alice.sub)
        return await write(work)

    monkeypatch.setattr(storage, "write", write_too_late)
    assert not await used(links, link)
    trail = await events(storage, *SecurityEventKind)
    assert [event.kind for event in trail] == ["account_deleted", "password_link_made", "account_registered"]
    assert alice.sub not in str(trail)


async def test_what_nobody_made_is_refused_without_a_trace(
    links: PasswordLinks, accounts: Accounts, alice: Account, storage: SqlStorage
) -> None:
    """Neither a token of the right form nor nonsense; guessing writes nothing."""
    await made(links, alice)
    for presented in (LinkToken.new().clear_text, "", "signet_link_", "x" * 10_000, "\x00", "\ud800"):
        assert await links.owner(presented) is None
        assert await links.use(LinkUse(presented, NEW_PASSWORD), CALLER) is None
    assert await refusals(storage) == []
    assert await signs_in(accounts, PASSWORD)


@pytest.mark.parametrize("weak", ["", "1234567", "password1", "alicealice", "signetsignet", "x" * 1_025])
async def test_a_weak_password_leaves_the_link(links: PasswordLinks, alice: Account, weak: str) -> None:
    """The rule is that of registration, and the owner may try again."""
    link = await made(links, alice)
    with pytest.raises(WeakPassword):
        await used(links, link, weak)
    assert await used(links, link)


async def test_the_link_is_looked_at_before_anything_is_hashed(
    links: PasswordLinks,
    storage: SqlStorage,
    password_policy: PasswordPolicy,
    alice: Account,
    clock: FrozenClock,
) -> None:
    """With no room for a hash a void link is refused as ever; a good one is told to come again, and left."""
    full = PasswordHasher(threads=1, queue_length=0, profile=CHEAP)
    full.pending = 1
    other = PasswordLinks(storage, full, password_policy, Devices(()), clock)
    void, good = await made(links, alice), await made(links, alice)
    assert not await used(other, void)
    assert not await used(other, MadeLink(LinkToken.new(), 0))
    with pytest.raises(Unavailable):
        await used(other, good)
    assert await used(links, good)
    await full.close()


async def test_the_device_becomes_known(
    links: PasswordLinks, accounts: Accounts, throttle: Throttle, alice: Account, clock: FrozenClock
) -> None:
    """As with any change of password: the device it was made on is known to the account, every other is a stranger."""
    before = throttle.devices.remember("", alice, at=clock.now())
    link = await made(links, alice)
    proof = await links.use(LinkUse(link.token.clear_text, NEW_PASSWORD, before or ""), CALLER)
    assert proof is not None
    assert throttle.devices.recognise(proof.devices or "", proof.account, at=clock.now()) is not None
    assert throttle.devices.recognise(before or "", proof.account, at=clock.now()) is None


async def test_the_audit_trail_tells_who_made_and_who_used_it(
    links: PasswordLinks, alice: Account, storage: SqlStorage
) -> None:
    """The operator made it, the owner used it from an address, somebody came too late; no token in any of it."""
    link = await made(links, alice, lifetime=600)
    await used(links, link)
    await used(links, link)
    kinds = [kind for kind in SecurityEventKind if kind.startswith("password")]
    told = [
        (event.kind, event.outcome, event.actor, event.caller, dict(event.detail))
        for event in await events(storage, *kinds)
    ]
    assert told == [
        (SecurityEventKind.PASSWORD_LINK_REFUSED, Outcome.REFUSED, None, CALLER, {"reason": "used"}),
        (SecurityEventKind.PASSWORD_CHANGED, Outcome.DONE, alice.sub, CALLER, {}),
        (SecurityEventKind.PASSWORD_LINK_USED, Outcome.DONE, alice.sub, CALLER, {}),
        (SecurityEventKind.PASSWORD_LINK_MADE, Outcome.DONE, "operator", NOWHERE, {"lifetime": "600"}),
    ]
    assert link.token.clear_text not in repr((told, link, LinkUse(link.token.clear_text, NEW_PASSWORD)))


@pytest.fixture
async def other_links(
    second_database: Database, password_policy: PasswordPolicy, clock: FrozenClock
) -> AsyncIterator[PasswordLinks]:
    """Another process."""
    hasher = PasswordHasher(threads=2, queue_length=100, profile=CHEAP)
    yield PasswordLinks(SqlStorage(second_database), hasher, password_policy, Devices(()), clock)
    await hasher.close()


async def test_of_uses_at_once_at_two_processes_one_counts(
    links: PasswordLinks, other_links: PasswordLinks, accounts: Accounts, alice: Account
) -> None:
    """Each brings a password of its own: one is set, the others are refused."""
    for round_number in range(5):
        link = await made(links, alice)
        passwords = [f"{NEW_PASSWORD} {round_number} {number}" for number in range(10)]
        outcomes = await asyncio.gather(
            *(used((links, other_links)[number % 2], link, password) for number, password in enumerate(passwords))
        )
        assert sorted(outcomes) == [False] * 9 + [True]
        assert await signs_in(accounts, passwords[outcomes.index(True)])


async def test_of_links_made_at_once_one_works(
    links: PasswordLinks, other_links: PasswordLinks, alice: Account
) -> None:
    """Two operators at two processes: whoever came last made the others void."""
    some = await asyncio.gather(*(made(each, alice) for each in (links, other_links) for _ in range(5)))
    working = [link for link in some if await links.owner(link.token.clear_text) is not None]
    assert len(working) == 1


STEPS = st.lists(st.sampled_from(["make", "use any", "use newest", "change", "disable", "enable", "wait"]), max_size=12)


@dataclass(slots=True)
class Model:
    """What must be true of an account's links: the last one made, while nothing has happened since, or none."""

    made: list[MadeLink] = field(default_factory=list)
    works: bool = False
    is_active: bool = True


@given(steps=STEPS, chosen=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_at_most_the_newest_link_works(
    links: PasswordLinks,
    administration: AccountAdministration,
    accounts: Accounts,
    clock: FrozenClock,
    steps: list[str],
    chosen: random.Random,
) -> None:
    """After any sequence of making, using, changing, disabling, enabling and waiting: the newest link works if nothing
    of that came between, and none of the others ever again."""
    numbers = iter(range(1_000))
    username = f"user-{clock.now():.0f}"
    owner = await accounts.register(Registration(username, PASSWORD), NOWHERE, by_operator=True)
    model = Model()
    clock.advance(1)
    for step in steps:
        if step == "make":
            link = await links.make(owner.sub, lifetime=100)
            assert (link is not None) is model.is_active
            if link is not None:
                model.made.append(link)
                model.works = True
        elif step.startswith("use") and model.made:
            link = chosen.choice(model.made) if step == "use any" else model.made[-1]
            expected = model.works and link is model.made[-1]
            assert await used(links, link, f"{NEW_PASSWORD} {next(numbers)}") is expected
            model.works = model.works and not expected
        elif step == "change":
            await administration.set_password(owner, f"{PASSWORD} {next(numbers)}")
            model.works = False
        elif step == "disable":
            await administration.disable(owner.sub)
            model.works = model.is_active = False
        elif step == "enable":
            await administration.enable(owner.sub)
            model.is_active = True
        elif step == "wait":
            clock.advance(100)
            model.works = False
        working = [link for link in model.made if await links.owner(link.token.clear_text) is not None]
        assert working == (model.made[-1:] if model.works else [])
