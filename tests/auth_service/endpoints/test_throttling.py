"""Throttling over HTTP, with the limits that ship: what guessing is answered with, and who still gets in."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from auth_service.identity.throttle import ThrottleLimits
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.alike import Attempt, assert_alike
from tests.auth_service.running import (
    EACH_DATABASE,
    NEW_PASSWORD,
    PASSWORD,
    PATIENT,
    AuthClient,
    assert_refused,
    in_database,
    running_auth,
)
from tests.clock import FrozenClock
from tests.wire import Reply

LIMITS = ThrottleLimits()
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"
HOUR = 3_600


@pytest.fixture
def environment(auth_environment: dict[str, str]) -> dict[str, str]:
    """The settings that ship, behind a proxy that says who calls."""
    shipped = {name: value for name, value in auth_environment.items() if name not in PATIENT}
    return {**shipped, "AUTH_TRUSTED_PROXIES": '["127.0.0.1"]'}


@pytest.fixture
async def auth(environment: dict[str, str], clock: FrozenClock) -> AsyncIterator[AuthClient]:
    async with running(environment, clock) as client:
        yield client


@contextlib.asynccontextmanager
async def running(environment: Mapping[str, str], clock: FrozenClock) -> AsyncIterator[AuthClient]:
    async with running_auth(AuthSettings.load(dict(environment)), clock) as client:
        yield client


async def sign_in(
    auth: AuthClient, username: str = "alice", password: str = PASSWORD, *, address: str = HOME, cookie: str = ""
) -> Reply:
    headers = {"X-Forwarded-For": address, **({"Cookie": cookie} if cookie else {})}
    return await auth.call("POST", "/login", body={"username": username, "password": password}, headers=headers)


async def guess(auth: AuthClient, username: str = "alice", *, address: str = HOME, cookie: str = "") -> Reply:
    return await sign_in(auth, username, NEW_PASSWORD, address=address, cookie=cookie)


async def guesses_left(auth: AuthClient, username: str = "alice", *, address: str = HOME, cookie: str = "") -> int:
    """How many wrong passwords are still looked at."""
    for count in range(200):
        reply = await guess(auth, username, address=address, cookie=cookie)
        if reply.status == 429:
            return count
        assert_refused(reply, 401, "invalid_credentials")
    raise AssertionError("nothing stops them")


def cookie_of(reply: Reply) -> str:
    """What a browser sends back."""
    cookie: str = reply.headers["Set-Cookie"].split(";")[0]
    return cookie


def without_id(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in reply.headers.items() if name not in ("X-Request-ID", "Date")}
    return reply.status, headers, reply.body


async def test_guessing_ends_after_ten(auth: AuthClient) -> None:
    """The eleventh wrong password from one address is 429 with Retry-After; so is then the right one."""
    await auth.register()
    assert await guesses_left(auth) == LIMITS.caller
    for reply in (await guess(auth), await sign_in(auth)):
        assert_refused(reply, 429, "too_many_requests")
        assert int(reply.headers["Retry-After"]) == 360


def disable(records: Records) -> None:
    account = records.accounts.find_by_username_key("disabled")
    assert account is not None
    records.accounts.update(account.disabled())


async def test_every_name_is_refused_alike(auth: AuthClient, environment: dict[str, str]) -> None:
    """Hostile cases, enumeration (CVE-2022-39228): the refusal is the same to the byte, and comes after as many
    guesses, for a name that somebody has, that nobody has or can have, and for an account that is disabled."""
    await auth.register("known")
    await auth.register("disabled")
    await in_database(AuthSettings.load(environment), disable)
    names = ["known", "unknown", "im possible", "disabled", "", "x" * 5_000]
    counts, refusals = [], []
    for number, name in enumerate(names):
        address = f"192.0.2.{number + 1}"
        counts.append(await guesses_left(auth, name, address=address))
        refusals.append(await guess(auth, name, address=address))
    assert counts == [LIMITS.caller] * len(names)
    assert {repr(without_id(refusal)) for refusal in refusals} == {repr(without_id(refusals[0]))}


async def test_retry_after_is_true(auth: AuthClient, clock: FrozenClock) -> None:
    """A second before it an attempt is still refused; after it one is looked at, and it may be the right one."""
    await auth.register()
    await guesses_left(auth)
    wait = int((await guess(auth)).headers["Retry-After"])
    await auth.pass_time(wait - 1)
    refused = await guess(auth)
    assert_refused(refused, 429, "too_many_requests")
    assert refused.headers["Retry-After"] == "1"
    await auth.pass_time(1)
    assert (await sign_in(auth)).status == 200
    assert await guesses_left(auth) == 1


async def test_a_flood_of_guesses_at_once_gets_no_more(auth: AuthClient) -> None:
    """Hostile cases: what is under way counts already, so sixty at once are ten."""
    await auth.register()
    replies = await asyncio.gather(*(guess(auth) for _ in range(60)))
    assert sorted(reply.status for reply in replies) == [401] * 10 + [429] * 50


@EACH_DATABASE
async def test_a_restart_forgets_nothing_and_processes_share(environment: dict[str, str], clock: FrozenClock) -> None:
    """What was spent at one process is spent at the other, and after all of them were started anew."""
    async with running(environment, clock) as first, running(environment, clock) as second:
        await first.register()
        for auth in (first, second) * int(LIMITS.caller // 2):
            assert_refused(await guess(auth), 401, "invalid_credentials")
        assert [await guesses_left(auth) for auth in (first, second)] == [0, 0]
    async with running(environment, clock) as auth:
        assert await guesses_left(auth) == 0
        assert (await sign_in(auth, address=ELSEWHERE)).status == 200


async def test_a_forged_address_is_no_other_caller(environment: dict[str, str], clock: FrozenClock) -> None:
    """Hostile cases: X-Forwarded-For is believed only from configured proxies."""
    async with running({**environment, "AUTH_TRUSTED_PROXIES": "[]"}, clock) as auth:
        await auth.register()
        for number in range(int(LIMITS.caller)):
            assert_refused(await guess(auth, address=f"203.0.113.{number}"), 401, "invalid_credentials")
        assert await guesses_left(auth, address=ELSEWHERE) == 0


async def test_the_owner_gets_in_on_a_known_device(auth: AuthClient) -> None:
    """Strangers have spent everything, at the owner's own address too: the device that has signed in before signs in,
    also after a few mistakes; one that has not must wait."""
    await auth.register()
    cookie = cookie_of(await sign_in(auth))
    for number in range(4):
        await guesses_left(auth, address=f"203.0.113.{number}")
    await guesses_left(auth)
    assert_refused(await sign_in(auth, address=ELSEWHERE), 429, "too_many_requests")
    for _ in range(3):
        assert_refused(await guess(auth, cookie=cookie), 401, "invalid_credentials")
        assert (await sign_in(auth, cookie=cookie)).status == 200
        assert (await sign_in(auth, address=ELSEWHERE, cookie=cookie)).status == 200


async def test_the_cookie_alone_opens_nothing(auth: AuthClient) -> None:
    """It proves no password and no session; it is refused nothing either, whatever stands in it."""
    await auth.register()
    cookie = cookie_of(await sign_in(auth))
    assert_refused(await guess(auth, cookie=cookie), 401, "invalid_credentials")
    for path in ("/logout", "/password"):
        reply = await auth.call("POST", path, body={}, headers={"Cookie": cookie})
        assert reply.status in (400, 401)
    nonsense = ["signet-device=", 'signet-device=""', "signet-device=%00", "=", ";;", "signet-device=" + "A" * 4_000]
    for strange in [*nonsense, cookie[:-1], cookie + "A", f"{cookie}; {cookie}", f"x={cookie}"]:
        assert (await sign_in(auth, cookie=strange)).status == 200


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [("http://localhost:8001", "signet-device="), ("https://id.example.org", "__Host-signet-device=")],
)
async def test_the_cookie_is_for_this_host_and_no_script(
    environment: dict[str, str], clock: FrozenClock, issuer: str, expected: str
) -> None:
    """HttpOnly, SameSite=Strict, for the whole host and no other (RFC 6265bis); over https only where there is it."""
    async with running({**environment, "AUTH_ISSUER": issuer}, clock) as auth:
        await auth.register()
        reply = await sign_in(auth)
        [cookie] = reply.headers.getall("Set-Cookie")
        assert cookie.startswith(expected)
        attributes = {part.strip() for part in cookie.split(";")[1:]}
        wanted = {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=34560000"}
        assert attributes == wanted | ({"Secure"} if issuer.startswith("https") else set())
        again = await sign_in(auth, cookie=cookie_of(reply))
        assert "Set-Cookie" not in again.headers
        assert "Set-Cookie" not in (await guess(auth)).headers


async def test_a_change_of_password_keeps_this_device_known_and_no_other(auth: AuthClient) -> None:
    """Who had the password has no guesses of his own any more; the one who changed it has."""
    await auth.register()
    thief = cookie_of(await sign_in(auth))
    signed_in = await sign_in(auth)
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    headers = {"X-Forwarded-For": HOME, "Cookie": cookie_of(signed_in)}
    token = signed_in.json()["access_token"]
    changed = await auth.call("POST", "/password", body=change, token=token, headers=headers)
    assert changed.status == 204
    for number in range(3):
        for _ in range(int(LIMITS.caller)):
            reply = await sign_in(auth, address=f"203.0.113.{number}")
            assert_refused(reply, 401, "invalid_credentials")
    assert_refused(await sign_in(auth, address=ELSEWHERE, cookie=thief), 429, "too_many_requests")
    assert (await sign_in(auth, password=NEW_PASSWORD, address=ELSEWHERE, cookie=cookie_of(changed))).status == 200


async def test_guesses_at_the_present_password_end_too(auth: AuthClient) -> None:
    """A stolen access token has ten of them; the owner changes the password in a session of his own."""
    await auth.register()
    stolen, own = [(await sign_in(auth)).json()["access_token"] for _ in range(2)]
    wrong = {"current_password": NEW_PASSWORD, "new_password": "a third long password"}
    right = {"current_password": PASSWORD, "new_password": "a third long password"}
    for _ in range(int(LIMITS.caller)):
        assert_refused(await auth.post("/password", wrong, token=stolen), 400, "invalid_credentials")
    refused = await auth.post("/password", right, token=stolen)
    assert_refused(refused, 429, "too_many_requests")
    assert refused.headers["Retry-After"] == "360"
    assert (await auth.post("/password", right, token=own)).status == 204


async def test_registrations_from_one_address_end(auth: AuthClient) -> None:
    """Twenty an hour, taken names included, for both are how accounts are made and found out in bulk."""

    async def register(username: str, address: str) -> Reply:
        body = {"username": username, "password": PASSWORD}
        return await auth.call("POST", "/register", body=body, headers={"X-Forwarded-For": address})

    statuses = [(await register(f"user-{number % 15}", HOME)).status for number in range(20)]
    assert statuses == [201] * 15 + [409] * 5
    refused = await register("one-more", HOME)
    assert_refused(refused, 429, "too_many_requests")
    assert refused.headers["Retry-After"] == "180"
    assert (await register("one-more", ELSEWHERE)).status == 201


async def test_a_spent_registration_is_refused_before_it_is_judged(auth: AuthClient) -> None:
    """Hostile cases: what is worked out for nothing is worked out for nobody who has spent the budget; that costs
    nothing more, and counts as refused."""

    async def register(address: str, **members: str) -> Reply:
        body = {"username": "alice", "password": PASSWORD, **members}
        return await auth.call("POST", "/register", body=body, headers={"X-Forwarded-For": address})

    impossible = [{"password": "password1"}, {"password": "\ufdfa" * 1_025}, {"username": "a b"}, {"email": "a@\u0007"}]
    for _ in range(20):
        await register(HOME)
    for members in impossible:
        refused = await register(HOME, **members)
        assert_refused(refused, 429, "too_many_requests")
        assert refused.headers["Retry-After"] == "180"
        assert (await register(ELSEWHERE, **members)).status == 400
    assert 'signet_throttled_total{budget="registration_address"} 4.0' in await auth.metrics()


async def test_what_is_refused_is_counted_and_not_written(auth: AuthClient, environment: dict[str, str]) -> None:
    """A flood of refusals fills no table; the metrics show it."""
    await auth.register()
    await guesses_left(auth)
    settings = AuthSettings.load(environment)
    before = await in_database(settings, lambda records: records.security_events.newest())
    for _ in range(20):
        await guess(auth)
    assert await in_database(settings, lambda records: records.security_events.newest()) == before
    assert 'signet_throttled_total{budget="caller"} 21.0' in await auth.metrics()


@pytest.mark.alone
@pytest.mark.slow
async def test_a_refusal_takes_the_same_time_for_every_name(auth: AuthClient) -> None:
    """Hostile cases, timing (CVE-2022-39228): 300 refusals each of a name that somebody has and of one that nobody
    has, in turn, take the same time."""
    await auth.register()
    for name in ("alice", "nobody"):
        await guesses_left(auth, name)

    def attempt(name: str) -> Attempt:
        async def refused(_number: int) -> None:
            assert (await guess(auth, name)).status == 429

        return refused

    await assert_alike("alice", {name: attempt(name) for name in ("alice", "nobody")}, 300)


@pytest.mark.slow
async def test_a_thousand_addresses_get_no_more_than_documented(auth: AuthClient, clock: FrozenClock) -> None:
    """Issue 4, shown-point 4: an attacker with 1,000 addresses tries as many passwords of one account as he can, for
    three hours: 30 at once and 30 an hour are looked at. The owner signs in every half hour, from the device that is
    known, at an address that the attacker has as well, and never waits."""
    await auth.register()
    cookie = cookie_of(await sign_in(auth))
    addresses = [f"10.0.{number // 250}.{number % 250}" for number in range(1_000)]
    chance = random.Random(4)
    looked_at, begun = 0, clock.now()

    async def attack(chosen: list[str]) -> None:
        nonlocal looked_at
        replies = await asyncio.gather(*(guess(auth, address=address) for address in chosen))
        assert {reply.status for reply in replies} <= {401, 429}
        looked_at += sum(reply.status == 401 for reply in replies)
        assert looked_at <= LIMITS.account + (clock.now() - begun) / HOUR * LIMITS.account

    for start in range(0, 1_000, 50):
        await attack(addresses[start : start + 50])
    assert looked_at == LIMITS.account
    for minute in range(2, 3 * 60 + 1, 2):
        await auth.pass_time(120)
        await attack(chance.sample(addresses, 20))
        if minute % 30 == 0:
            owner = await sign_in(auth, address=chance.choice(addresses), cookie=cookie)
            assert owner.status == 200
            assert_refused(await sign_in(auth, address=ELSEWHERE), 429, "too_many_requests")
    assert looked_at == LIMITS.account + 3 * LIMITS.account


@pytest.mark.slow
async def test_a_thousand_addresses_do_not_spray_more_than_documented(
    environment: dict[str, str], clock: FrozenClock
) -> None:
    """The same attacker tries one password on many accounts: what the whole service allows is looked at, however many
    addresses there are, and known devices sign in meanwhile. (A tenth of the limits that ship, to be done in time.)"""
    limits = replace(LIMITS, address=10, service=1_000)
    scaled = {"AUTH_FAILURES_PER_ADDRESS": "10", "AUTH_FAILURES_PER_SERVICE": "1000"}
    async with running({**environment, **scaled}, clock) as auth:
        await auth.register()
        cookie = cookie_of(await sign_in(auth))
        looked_at = 0
        for start in range(0, 1_500, 50):
            attempts = [
                guess(auth, f"user-{number}", address=f"10.0.{number % 1_000 // 250}.{number % 250}")
                for number in range(start, start + 50)
            ]
            replies = await asyncio.gather(*attempts)
            looked_at += sum(reply.status == 401 for reply in replies)
        assert looked_at == limits.service
        assert_refused(await sign_in(auth, address=ELSEWHERE), 429, "too_many_requests")
        assert (await sign_in(auth, cookie=cookie)).status == 200
        await auth.pass_time(36)
        replies = await asyncio.gather(
            *(guess(auth, f"user-{number}", address=f"10.1.0.{number}") for number in range(50))
        )
        assert sum(reply.status == 401 for reply in replies) == 10


def rotating(chance: random.Random) -> str:
    """An address in one of the 65,536 networks of one /48."""
    return f"2001:db8:7:{chance.randrange(65_536):x}::{chance.randrange(1, 65_536):x}"


@pytest.mark.slow
async def test_a_whole_48_gets_no_more_than_documented(auth: AuthClient) -> None:
    """An attacker with an IPv6 /48 takes another of its networks for each attempt: 30 at once and 30 an hour are looked
    at for one account; the owner signs in meanwhile on the device that is known, from that very /48."""
    await auth.register()
    cookie = cookie_of(await sign_in(auth))
    chance, looked_at = random.Random(6), 0

    async def attack(attempts: int) -> None:
        nonlocal looked_at
        replies = await asyncio.gather(*(guess(auth, address=rotating(chance)) for _ in range(attempts)))
        assert {reply.status for reply in replies} <= {401, 429}
        looked_at += sum(reply.status == 401 for reply in replies)

    await attack(60)
    assert looked_at == LIMITS.account
    for _ in range(30):
        await auth.pass_time(120)
        await attack(10)
    assert looked_at == 2 * LIMITS.account
    assert (await sign_in(auth, address=rotating(chance), cookie=cookie)).status == 200


@pytest.mark.slow
async def test_a_whole_48_does_not_spray_more_than_documented(auth: AuthClient) -> None:
    """The same attacker tries one password on many accounts: 400 at once and 400 an hour are looked at, and that keeps
    nobody elsewhere out, on whatever device."""
    await auth.register()
    chance, names = random.Random(7), iter(range(10_000))

    async def spray(attempts: int) -> int:
        replies = []
        for _ in range(attempts // 50):
            batch = [guess(auth, f"user-{next(names)}", address=rotating(chance)) for _ in range(50)]
            replies += await asyncio.gather(*batch)
        return sum(reply.status == 401 for reply in replies)

    assert await spray(600) == 4 * LIMITS.address
    assert_refused(await sign_in(auth, address=rotating(chance)), 429, "too_many_requests")
    assert (await sign_in(auth, address="2001:db8:8::1")).status == 200
    await auth.pass_time(HOUR / 4)
    assert await spray(200) == LIMITS.address


async def test_a_service_that_is_spent_keeps_no_known_device_out(
    environment: dict[str, str], clock: FrozenClock
) -> None:
    """When all that strangers may fail is gone, and with it every new device, those that are known notice nothing."""
    async with running({**environment, "AUTH_FAILURES_PER_SERVICE": "5"}, clock) as auth:
        await auth.register()
        cookie = cookie_of(await sign_in(auth))
        for number in range(5):
            assert_refused(await guess(auth, f"user-{number}", address=f"10.0.0.{number}"), 401, "invalid_credentials")
        assert_refused(await sign_in(auth, address=ELSEWHERE), 429, "too_many_requests")
        for _ in range(10):
            assert (await sign_in(auth, address=ELSEWHERE, cookie=cookie)).status == 200
        assert await guesses_left(auth, cookie=cookie) == LIMITS.caller
