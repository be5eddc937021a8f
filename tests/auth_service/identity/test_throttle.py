"""What the throttle charges whom, over the real storage."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from auth_service.identity.accounts import Accounts, Credentials, PasswordChange, Proof, Registration, WeakPassword
from auth_service.identity.devices import Devices
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.identity.sessions import Sessions
from auth_service.identity.throttle import FREE, UNLIMITED, Throttle, ThrottleLimits, networks_of
from auth_service.model.account import Account
from auth_service.model.caller import Caller
from auth_service.storage.storage import SqlStorage
from shared.errors import TooManyRequests, Unavailable
from tests.auth_service.identity.hashing import CHEAP
from tests.auth_service.stored import CALLER, GRANT, NOW
from tests.clock import FrozenClock

PASSWORD = "correct horse battery"
WRONG = "battery staple horse"
LIMITS = ThrottleLimits(caller=2, account=4, address=6, service=9, registrations_address=2, registrations_service=3)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def throttle(registry: CollectorRegistry) -> Throttle:
    """With limits that are soon reached."""
    return Throttle(LIMITS, Devices([bytes(32)]), registry)


@pytest.fixture
async def alice(
    storage: SqlStorage, hasher: PasswordHasher, password_policy: PasswordPolicy, clock: FrozenClock
) -> Account:
    operators = Accounts(storage, hasher, password_policy, Throttle(UNLIMITED, Devices(())), clock)
    return await operators.register(Registration("Alice", PASSWORD), CALLER)


def caller(number: int) -> Caller:
    return Caller(f"192.0.2.{number}", "")


async def guess(accounts: Accounts, username: str, who: Caller, devices: str = "") -> None:
    """A wrong password that is looked at; TooManyRequests when it is not."""
    assert await accounts.authenticate(Credentials(username, WRONG, devices), who) is None


async def sign_in(accounts: Accounts, sessions: Sessions, who: Caller, devices: str = "") -> Proof:
    proof = await accounts.authenticate(Credentials("alice", PASSWORD, devices), who)
    assert proof is not None
    assert await sessions.open(proof.account, GRANT, who, paid=proof.paid) is not None
    return proof


async def new_session(sessions: Sessions, account: Account) -> str:
    """The id of a session that was opened for it."""
    opened = await sessions.open(account, GRANT, CALLER)
    assert opened is not None
    return opened.session.sid


async def guesses_left(accounts: Accounts, username: str, who: Caller, devices: str = "") -> int:
    """How many wrong passwords are still looked at."""
    for count in range(100):
        try:
            await guess(accounts, username, who, devices)
        except TooManyRequests:
            return count
    raise AssertionError("nothing stops them")


@pytest.mark.parametrize("username", ["alice", "nobody", "im possible"])
async def test_guesses_from_one_address_are_counted_by_account(
    accounts: Accounts, alice: Account, username: str
) -> None:
    """The same for a name that somebody has, that nobody has and that nobody can have."""
    assert await guesses_left(accounts, username, caller(1)) == LIMITS.caller
    assert await guesses_left(accounts, username, caller(2)) == LIMITS.account - LIMITS.caller
    assert await guesses_left(accounts, username, caller(3)) == 0


async def test_every_spelling_of_a_name_is_one_name(accounts: Accounts, alice: Account) -> None:
    """No other spelling has guesses of its own."""
    for username in ("alice", "ALICE"):
        await guess(accounts, username, caller(1))
    assert await guesses_left(accounts, "\uff21lice", caller(1)) == 0


async def test_guesses_from_one_address_are_counted_over_all_accounts(accounts: Accounts, alice: Account) -> None:
    """Spraying one password over many names ends as soon, and other addresses go on."""
    for number in range(int(LIMITS.address)):
        await guess(accounts, f"user-{number}", caller(1))
    assert await guesses_left(accounts, "alice", caller(1)) == 0
    assert await guesses_left(accounts, "alice", caller(2)) == LIMITS.caller


async def test_guesses_are_counted_over_the_whole_service(accounts: Accounts) -> None:
    """Many addresses and many names are still one attack."""
    for number in range(int(LIMITS.service)):
        await guess(accounts, f"user-{number}", caller(number))
    assert await guesses_left(accounts, "alice", caller(100)) == 0


@pytest.mark.parametrize(
    ("varying", "factor"), [("2001:db8:0:{:x}::1", 2), ("2001:db8:0:{:x}00::1", 4), ("2001:db8:{:x}::1", None)]
)
async def test_who_has_many_ipv6_networks_is_counted_by_the_wider_ones_too(
    accounts: Accounts, varying: str, factor: int | None
) -> None:
    """A /56 has twice what a /64 has, a /48 four times; other /48s are other callers, up to what the service allows."""
    wide = Throttle(replace(LIMITS, service=100), Devices([bytes(32)]))
    counted = Accounts(accounts._storage, accounts._hasher, accounts._policy, wide, accounts._clock)
    looked_at = 0
    for number in range(100):
        try:
            await guess(counted, f"user-{number}", Caller(varying.format(number + 1), ""))
        except TooManyRequests:
            break
        looked_at += 1
    assert looked_at == (100 if factor is None else factor * LIMITS.address)


async def test_registrations_are_counted_by_the_wider_networks_too(accounts: Accounts) -> None:
    """The same factors."""
    wide = Throttle(replace(LIMITS, registrations_service=100), Devices([bytes(32)]))
    counted = Accounts(accounts._storage, accounts._hasher, accounts._policy, wide, accounts._clock)
    for number in range(int(4 * LIMITS.registrations_address)):
        await counted.register(Registration(f"user-{number}", PASSWORD), Caller(f"2001:db8:0:{number}00::1", ""))
    with pytest.raises(TooManyRequests):
        await counted.register(Registration("one-more", PASSWORD), Caller("2001:db8:0:aa00::1", ""))
    await counted.register(Registration("one-more", PASSWORD), Caller("2001:db8:1::1", ""))


async def test_an_ipv6_caller_is_its_whole_network(accounts: Accounts) -> None:
    """All addresses of a /64 are one caller; the next /64 is another."""
    for number in range(int(LIMITS.caller)):
        await guess(accounts, "alice", Caller(f"2001:db8::{number:x}", ""))
    assert await guesses_left(accounts, "alice", Caller("2001:db8::ffff:1", "")) == 0
    assert await guesses_left(accounts, "alice", Caller("2001:db8:0:1::1", "")) == LIMITS.caller


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("192.0.2.7", ["192.0.2.7"]),
        ("2001:db8:1:2345:6:7:8:9", ["2001:db8:1:2345::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"]),
        ("::1", ["::/64", "::/56", "::/48"]),
        ("fe80::1%eth0", ["fe80::/64", "fe80::/56", "fe80::/48"]),
        ("", [""]),
        ("unix:", [""]),
        ("192.0.2.7 ", [""]),
    ],
)
def test_where_a_caller_can_choose_its_addresses_from(address: str, networks: list[str]) -> None:
    """IPv4 counts whole, IPv6 by its /64 and by what a site may have; what is no address is one caller."""
    assert networks_of(Caller(address, "")) == networks


async def test_only_failures_cost(accounts: Accounts, alice: Account, sessions: Sessions) -> None:
    """Signing in again and again leaves every budget as it was."""
    for _ in range(20):
        await sign_in(accounts, sessions, caller(1))
    assert await guesses_left(accounts, "alice", caller(1)) == LIMITS.caller


async def test_guesses_at_once_are_no_more_than_guesses_in_turn(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """What is under way is paid for already: it is charged before it is hashed."""
    attempts = [accounts.authenticate(Credentials("alice", PASSWORD), caller(1)) for _ in range(3)]
    proofs = [await attempts[0], await attempts[1]]
    with pytest.raises(TooManyRequests):
        await attempts[2]
    assert None not in proofs


async def test_the_owner_signs_in_on_a_known_device_while_strangers_guess(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """Whatever strangers have spent, from the owner's own address too, a device that is known has its own budget."""
    devices = (await sign_in(accounts, sessions, caller(1))).devices
    assert devices is not None
    for number in range(20):
        await guesses_left(accounts, "alice", caller(number))
        await guesses_left(accounts, f"user-{number}", caller(1))
    with pytest.raises(TooManyRequests):
        await sign_in(accounts, sessions, caller(1))
    for _ in range(20):
        assert (await sign_in(accounts, sessions, caller(1), devices)).devices is None


async def test_a_known_device_guesses_no_more_than_others(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """One that was stolen has the guesses of one caller, and spends nobody else's."""
    devices = (await sign_in(accounts, sessions, caller(1))).devices
    assert devices is not None
    left = [await guesses_left(accounts, "alice", caller(number), devices) for number in range(3)]
    assert left == [LIMITS.caller, 0, 0]
    assert await guesses_left(accounts, "alice", caller(1)) == LIMITS.caller


async def test_a_known_device_is_a_stranger_to_other_accounts(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """Who has an account of his own gets nothing for anybody else's."""
    devices = (await sign_in(accounts, sessions, caller(1))).devices
    assert devices is not None
    assert await guesses_left(accounts, "bob", caller(2), devices) == LIMITS.caller
    assert await guesses_left(accounts, "bob", caller(3)) == LIMITS.account - LIMITS.caller
    assert await guesses_left(accounts, "bob", caller(4), devices) == 0


async def test_what_was_not_looked_at_is_given_back(
    storage: SqlStorage, alice: Account, password_policy: PasswordPolicy, throttle: Throttle
) -> None:
    """A queue that fills up between the charge and the hash costs its victims nothing."""
    narrow = PasswordHasher(threads=1, queue_length=0, profile=CHEAP)
    busy = Accounts(storage, narrow, password_policy, throttle, FrozenClock(NOW))
    room = narrow.require_room

    def fill_up() -> None:
        room()
        narrow.pending = 1

    for _ in range(5):
        narrow.require_room = fill_up  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await guess(busy, "alice", caller(1))
        narrow.pending = 0
    narrow.require_room = room  # type: ignore[method-assign]
    assert await guesses_left(busy, "alice", caller(1)) == LIMITS.caller
    await narrow.close()


async def test_a_full_queue_is_told_before_anything_is_charged(
    storage: SqlStorage, alice: Account, password_policy: PasswordPolicy, throttle: Throttle
) -> None:
    """503 touches no budget and no database."""
    narrow = PasswordHasher(threads=1, queue_length=0, profile=CHEAP)
    busy = Accounts(storage, narrow, password_policy, throttle, FrozenClock(NOW))
    narrow.pending = 1
    change = PasswordChange(alice.sub, "sid", PASSWORD, "another good password")
    for _ in range(5):
        with pytest.raises(Unavailable):
            await guess(busy, "alice", caller(1))
        with pytest.raises(Unavailable):
            await busy.change_password(change, caller(1))
        with pytest.raises(Unavailable):
            await busy.register(Registration("bob", PASSWORD), caller(1))
    narrow.pending = 0
    assert await guesses_left(busy, "alice", caller(1)) == LIMITS.caller
    assert (await busy.register(Registration("bob", PASSWORD), caller(1))).username == "bob"
    await narrow.close()


async def test_guesses_at_the_present_password_are_counted_by_session(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """Who holds one session's token has a few guesses, and takes none from the owner's other sessions."""

    async def change(sid: str, presented: str, new: str = "another good password") -> bool:
        wanted = PasswordChange(alice.sub, sid, presented, new)
        return await accounts.change_password(wanted, caller(1)) is not None

    own, stolen = [await new_session(sessions, alice) for _ in range(2)]
    for _ in range(int(LIMITS.caller)):
        assert not await change(stolen, WRONG)
    with pytest.raises(TooManyRequests):
        await change(stolen, PASSWORD)
    for _ in range(5):
        with pytest.raises(WeakPassword):
            await change(own, PASSWORD, new="short")
    assert await change(own, PASSWORD)


async def test_a_changed_password_makes_this_device_known_and_every_other_a_stranger(
    accounts: Accounts, alice: Account, sessions: Sessions
) -> None:
    """Who had the password once keeps no budget of his own."""
    own, other = [(await sign_in(accounts, sessions, caller(1))).devices for _ in range(2)]
    assert own is not None
    assert other is not None
    sid = await new_session(sessions, alice)
    change = PasswordChange(alice.sub, sid, PASSWORD, "another good password", own)
    proof = await accounts.change_password(change, caller(1))
    assert proof is not None
    assert proof.devices is not None
    assert proof.paid == FREE
    for number in range(2, 5):
        await guesses_left(accounts, "alice", caller(number))
    assert await guesses_left(accounts, "alice", caller(5), other) == 0
    assert await guesses_left(accounts, "alice", caller(5), own) == 0
    assert await guesses_left(accounts, "alice", caller(5), proof.devices) == LIMITS.caller


async def test_registrations_are_counted_by_address_and_in_all(accounts: Accounts) -> None:
    """Each that could make an account counts, also when the name is taken: that is how names are found out."""

    async def register(username: str, number: int, password: str = PASSWORD) -> None:
        await accounts.register(Registration(username, password), caller(number))

    for _ in range(5):
        with pytest.raises(WeakPassword):
            await register("one", 1, password="short")
    await register("one", 1)
    await register("two", 1)
    with pytest.raises(TooManyRequests):
        await register("three", 1)
    await register("three", 2)
    with pytest.raises(TooManyRequests):
        await register("four", 3)


async def test_the_refusal_tells_nothing_but_the_wait(accounts: Accounts, alice: Account, clock: FrozenClock) -> None:
    """One text for all budgets; whole seconds, after which an attempt is taken."""
    await guesses_left(accounts, "alice", caller(1))
    clock.advance(0.5)
    with pytest.raises(TooManyRequests) as refused:
        await guess(accounts, "alice", caller(1))
    assert refused.value.description == "Too many attempts; try again later."
    assert refused.value.retry_after == 1_800
    clock.advance(refused.value.retry_after)
    await guess(accounts, "alice", caller(1))


async def test_the_audit_trail_knows_which_budget_was_spent(
    accounts: Accounts, alice: Account, storage: SqlStorage, registry: CollectorRegistry
) -> None:
    """The failure that empties a budget says so; refusals after it are a figure, and write nothing."""
    for _ in range(2):
        await guess(accounts, "alice", caller(1))
    for _ in range(10):
        with pytest.raises(TooManyRequests):
            await guess(accounts, "alice", caller(1))
    events = await storage.read(lambda records: records.security_events.newest(sub=alice.sub))
    details = [event.detail for event in events if event.detail]
    assert details == [{"reason": "wrong_password", "budget_spent": "caller"}, {"reason": "wrong_password"}]
    assert registry.get_sample_value("signet_throttled_total", {"budget": "caller"}) == 10
    assert registry.get_sample_value("signet_throttled_total", {"budget": "service"}) == 0


async def test_an_operator_is_not_throttled(
    storage: SqlStorage, hasher: PasswordHasher, password_policy: PasswordPolicy, clock: FrozenClock
) -> None:
    """Accounts are added on the service's own machine as many as are wanted."""
    operators = Accounts(storage, hasher, password_policy, Throttle(UNLIMITED, Devices(())), clock)
    for number in range(30):
        await operators.register(Registration(f"user-{number}", PASSWORD), Caller("", ""))
