"""The last good key set on disk: a start while the issuer is down, and nothing believed too long."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from resource_service.protection.bounded_fetch import FetchLimits
from resource_service.protection.configuration import TrustedIssuer
from resource_service.protection.last_good_file import LastGood, LastGoodFile
from resource_service.protection.remote_key_set import RemoteKeySet
from tests.clock import FrozenClock
from tests.protocol.minting import ISSUER, NOW, key_set_of, signing_key
from tests.resource_service.protection.issuer import Issuer, body_of, until

LIMITS = FetchLimits(connect_seconds=0.5, total_seconds=0.5)
KID = signing_key().kid


def trusted(issuer: Issuer, path: Path) -> TrustedIssuer:
    return TrustedIssuer(ISSUER, jwks_uri=issuer.jwks_uri, last_good_file=path)


async def run_once(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """Fetch a good set and stop."""
    keys = RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "last-good.json"


async def test_a_start_while_the_issuer_is_down(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """Keys that were good a while ago are served at once, stale, until their hour is over."""
    await run_once(issuer, path, clock)
    issuer.answer = body_of(b"", status=500)
    clock.advance(3_000)
    keys = RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS)
    async with keys.running():
        assert keys.find(KID) is not None
        health = keys.health()
        assert (health.usable, health.stale, health.age) == (True, True, 3_000)
        clock.advance(599)
        assert keys.find(KID) is not None
        clock.advance(1)
        assert keys.find(KID) is None


async def test_the_set_that_is_fetched_replaces_it(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """A key that was removed meanwhile is gone with the first fetch."""
    await run_once(issuer, path, clock)
    issuer.keys = [signing_key("RS256", 1)]
    keys = RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.find(KID) is None)
        assert keys.health().generation == 2
        await until(lambda: keys._flight is None)
    assert json.loads(json.loads(path.read_bytes())["body"]) == json.loads(key_set_of(signing_key("RS256", 1)))


async def test_a_set_that_is_confirmed_is_written_again(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """304 says that the set still holds, and so does the file."""
    issuer.etag = '"v1"'
    keys = RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)
        clock.advance(299)
        await until(lambda: keys.health().attempts == 2 and keys._flight is None)
    assert json.loads(path.read_bytes())["confirmed_at"] == NOW + 299


async def test_the_file_is_private_and_whole(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """Mode 0600 in a 0700 folder, no draft left beside it."""
    await run_once(issuer, path, clock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


GOOD = {"issuer": ISSUER, "confirmed_at": NOW - 10, "body": key_set_of(signing_key()).decode()}
REFUSED = {
    "not JSON": b"{",
    "empty": b"",
    "not an object": b"[]",
    "another issuer's": json.dumps(GOOD | {"issuer": "https://other.example"}).encode(),
    "no body": json.dumps({"issuer": ISSUER, "confirmed_at": NOW}).encode(),
    "body a list": json.dumps(GOOD | {"body": []}).encode(),
    "time a text": json.dumps(GOOD | {"confirmed_at": "now"}).encode(),
    "too large": json.dumps(GOOD | {"x": "x" * 131_072}).encode(),
    "too old": json.dumps(GOOD | {"confirmed_at": NOW - 3_600}).encode(),
    "from the future": json.dumps(GOOD | {"confirmed_at": NOW + 1}).encode(),
    "no usable key": json.dumps(GOOD | {"body": '{"keys":[]}'}).encode(),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED.keys())
async def test_a_file_that_is_not_to_be_believed_is_not_used(
    issuer: Issuer, path: Path, clock: FrozenClock, content: bytes
) -> None:
    """Whatever is wrong with it, the service starts as if it were not there."""
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    issuer.hold.clear()
    keys = RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS)
    async with keys.running():
        assert keys.snapshot is None
        issuer.hold.set()
        await until(lambda: keys.health().usable)


async def test_a_good_file_is_used(issuer: Issuer, path: Path, clock: FrozenClock) -> None:
    """The counterpart of the rows above: what they change was good."""
    path.parent.mkdir()
    path.write_bytes(json.dumps(GOOD).encode())
    path.chmod(0o600)
    issuer.hold.clear()
    async with RemoteKeySet(trusted(issuer, path), clock, limits=LIMITS).running():
        pass
    assert await LastGoodFile(path, ISSUER).load() == LastGood(key_set_of(signing_key()), NOW - 10)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_may_write_is_not_believed(path: Path, mode: int) -> None:
    """Keys decide who gets in; a file anybody may write cannot hold them."""
    path.parent.mkdir()
    path.write_bytes(json.dumps(GOOD).encode())
    path.chmod(mode)
    assert await LastGoodFile(path, ISSUER).load() is None


async def test_a_file_that_cannot_be_written_costs_nothing_else(
    issuer: Issuer, tmp_path: Path, clock: FrozenClock
) -> None:
    """A folder that is a file: the keys are served from memory all the same."""
    (tmp_path / "keys").write_text("in the way")
    keys = RemoteKeySet(trusted(issuer, tmp_path / "keys" / "file"), clock, limits=LIMITS)
    async with keys.running():
        await until(lambda: keys.health().attempts == 1 and keys._flight is None)
        assert keys.find(KID) is not None
        assert keys.health().last_fault is None
