"""What was revoked, kept on disk: a start while the issuer is down, and files that are not what they were."""

from __future__ import annotations

import asyncio
import resource
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resource_service.protection import ProtectedResource, TrustedIssuer, revocation_feed
from resource_service.protection import kept_revocations as kept
from resource_service.protection.kept_revocations import KeptRevocations
from shared.revocation_feed import Position, RevocationDocument, RevokedKind, encode_document
from tests.clock import FrozenClock
from tests.protocol.minting import ISSUER, NOW, mint, signing_key
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.feed import KEPT_SECONDS, Feed, running_feed
from tests.resource_service.protection.issuer import Issuer, body_of, json_of, until
from tests.resource_service.protection.test_revocation_feed import health, pass_time, taken_in

DOWN = body_of(b"", status=503)


@pytest.fixture
async def feed(clock: FrozenClock) -> AsyncIterator[Feed]:
    async with running_feed(clock) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "revocations.documents"


@asynccontextmanager
async def following(issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock, **changes: Any) -> AsyncIterator[Api]:
    trusted = TrustedIssuer(
        ISSUER,
        jwks_uri=issuer.jwks_uri,
        revocations_uri=feed.uri,
        last_good_file=path.with_name("keys.json"),
        kept_revocations=path,
    )
    resource: ProtectedResource = replace(resource_of(issuer), issuers=(trusted,), **changes)
    async with running_api(resource, clock, wait_for_keys=False) as api:
        yield api


async def hear_of(issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock, *tokens: str) -> None:
    """A service hears of these endings one after the other, and stops."""
    async with following(issuer, feed, path, clock) as api:
        await until(path.with_name("keys.json").exists)
        for token in tokens:
            feed.revoke(RevokedKind.TOKEN, token)
            await taken_in(api, feed)


async def started(api: Api) -> None:
    """Wait until the first attempt has failed and requests are answered."""
    await until(lambda: health(api).failures_in_row > 0 and api.protection.health().usable)


async def status_of(api: Api, token: str) -> int:
    return (await api.get(token=mint(claims={"jti": token}))).status


async def test_a_start_while_the_issuer_is_down_refuses_what_was_revoked(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """From the first answer on; what is good is good; and the feed is as stale as it is, until it is heard."""
    await hear_of(issuer, feed, path, clock, "one", "two")
    issuer.answer, feed.is_cut = DOWN, True
    clock.advance(200)
    async with following(issuer, feed, path, clock) as api:
        assert await status_of(api, "one") in (401, 503)
        await started(api)
        assert [await status_of(api, token) for token in ("one", "two", "three")] == [401, 401, 200]
        assert (health(api).stale, health(api).age, health(api).sequence) == (True, None, 0)
        issuer.answer, feed.is_cut = None, False
        feed.revoke(RevokedKind.TOKEN, "three")
        await pass_time(api, clock, 6)
        await taken_in(api, feed)
        assert [await status_of(api, token) for token in ("one", "two", "three")] == [401, 401, 401]
        assert not health(api).stale


async def test_fail_closed_waits_for_the_feed_all_the_same(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """What is kept says nothing about what was revoked since."""
    await hear_of(issuer, feed, path, clock, "one")
    feed.is_cut = True
    async with following(issuer, feed, path, clock, revocation_fail_closed=True) as api:
        await until(lambda: health(api).failures_in_row > 0)
        assert [await status_of(api, token) for token in ("one", "two")] == [503, 503]


async def test_nobody_is_let_through_before_what_was_kept_could_be_verified(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """No key set on disk, and the issuer down: 503 until its keys are there, then what was kept is refused."""
    await hear_of(issuer, feed, path, clock, "one")
    path.with_name("keys.json").unlink()
    issuer.answer, feed.is_cut = DOWN, True
    async with following(issuer, feed, path, clock) as api:
        await until(lambda: health(api).failures_in_row > 0)
        assert await status_of(api, "one") == 503
        assert not health(api).usable
        issuer.answer = None
        await pass_time(api, clock, 30)
        await until(lambda: api.protection.health().usable)
        assert [await status_of(api, token) for token in ("one", "two")] == [401, 200]


async def test_a_feed_that_metadata_names_no_more_is_not_forgotten(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """Keys that come late, and metadata that has lost the feed: what was kept is refused, once it can be verified."""
    feed.issuer, well_known = issuer.url, "/.well-known/oauth-authorization-server"
    metadata = {"issuer": issuer.url, "jwks_uri": issuer.jwks_uri}
    resource = replace(resource_of(issuer), issuers=(TrustedIssuer(issuer.url, kept_revocations=path),))
    tokens = [mint(claims={"iss": issuer.url, "jti": name}) for name in ("one", "two")]
    issuer.metadata_answers[well_known] = json_of({**metadata, "revocations_uri": feed.uri})
    feed.revoke(RevokedKind.TOKEN, "one")
    async with running_api(resource, clock) as api:
        await taken_in(api, feed)
    issuer.metadata_answers[well_known] = json_of(metadata)
    issuer.answer = DOWN
    async with running_api(resource, clock, wait_for_keys=False) as api:
        await asyncio.sleep(0.3)
        assert (await api.get(token=tokens[0])).status == 503
        issuer.answer = None
        await pass_time(api, clock, 30)
        await until(lambda: health(api).held == 1)
        await pass_time(api, clock, 10)
        assert [(await api.get(token=token)).status for token in tokens] == [401, 200]


async def test_what_has_expired_is_not_taken_in(issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock) -> None:
    """The entries' own expiry holds at a start as it does later."""
    await hear_of(issuer, feed, path, clock, "one")
    issuer.answer, feed.is_cut = DOWN, True
    clock.advance(KEPT_SECONDS + 61)
    async with following(issuer, feed, path, clock) as api:
        await until(lambda: health(api).failures_in_row > 0)
        assert health(api).held == 0


async def test_a_second_start_keeps_nothing_twice(issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock) -> None:
    """The feed is read from its beginning at each start; what that tells anew is kept, and nothing else."""
    await hear_of(issuer, feed, path, clock, "one", "two")
    before = path.read_bytes()
    for _ in range(2):
        await hear_of(issuer, feed, path, clock)
        async with following(issuer, feed, path, clock) as api:
            await taken_in(api, feed)
    assert path.read_bytes() == before


def without_last(content: bytes) -> bytes:
    return b"\n".join(content.rstrip(b"\n").split(b"\n")[:-1]) + b"\n"


def with_lines(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: b"\n".join(change(line) if line else line for line in content.split(b"\n"))


def stranger(**changes: Any) -> bytes:
    """A line of somebody else's, who would have everything refused."""
    key = changes.pop("key", signing_key())
    feed = Feed(FrozenClock(NOW), key=key, **changes)
    feed.revoke(RevokedKind.CLIENT, "first-party")
    return b"9999999999 " + feed.document(0) + b"\n"


TAMPERED: dict[str, tuple[Callable[[bytes], bytes], list[int]]] = {
    "as it was": (lambda content: content, [401, 401, 200]),
    "rolled back": (without_last, [401, 200, 200]),
    "torn": (lambda content: content[:-40], [401, 200, 200]),
    "the first line torn": (lambda content: content[60:], [200, 401, 200]),
    "empty": (lambda _: b"", [200, 200, 200]),
    "zeros": (lambda content: bytes(len(content)), [200, 200, 200]),
    "one byte changed in each": (with_lines(lambda line: line[:-20] + b"AAAA" + line[-16:]), [200, 200, 200]),
    "void instants": (with_lines(lambda line: b"1 " + line.partition(b" ")[2]), [200, 200, 200]),
    "instants that are none": (with_lines(lambda line: b"1e9" + line), [200, 200, 200]),
    "instants too long": (with_lines(lambda line: b"9" * 5_000 + line), [200, 200, 200]),
    "another key's added": (lambda content: content + stranger(key=signing_key("RS256", 7)), [401, 401, 200]),
    "another issuer's added": (lambda content: content + stranger(issuer=ISSUER + "/"), [401, 401, 200]),
    "a token added": (lambda content: content + b"9999999999 " + mint().encode() + b"\n", [401, 401, 200]),
    "lines in another order": (
        lambda content: b"\n".join(reversed(content.split(b"\n"))) + b"\n",
        [401, 401, 200],
    ),
}


@pytest.mark.parametrize(("change", "statuses"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_only_what_the_issuer_signed_is_believed(
    issuer: Issuer,
    feed: Feed,
    path: Path,
    clock: FrozenClock,
    change: Callable[[bytes], bytes],
    statuses: list[int],
) -> None:
    """Whatever was done to the file: nothing good is refused, the lines that are whole hold, and once the feed is
    heard everything that it revoked is refused."""
    await hear_of(issuer, feed, path, clock, "one", "two")
    path.write_bytes(change(path.read_bytes()))
    feed.is_cut = True
    async with following(issuer, feed, path, clock) as api:
        await started(api)
        assert [await status_of(api, token) for token in ("one", "two", "three")] == statuses
        feed.is_cut = False
        await pass_time(api, clock, 6)
        await taken_in(api, feed)
        assert [await status_of(api, token) for token in ("one", "two", "three")] == [401, 401, 200]


async def test_a_document_of_a_revoked_key_is_not_believed(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """Once the file itself says that the key was revoked, whoever has it can add nothing."""
    async with following(issuer, feed, path, clock) as api:
        await until(path.with_name("keys.json").exists)
        feed.revoke(RevokedKind.KEY, signing_key().kid)
        await taken_in(api, feed)
    with path.open("ab") as file:
        file.write(stranger())
    successor = signing_key("RS256", 1)
    issuer.keys, feed.is_cut = [signing_key(), successor], True
    async with following(issuer, feed, path, clock) as api:
        await started(api)
        await until(lambda: len(api.protection.health().issuers[0].keys.kids) == 2)
        assert (await api.get(token=mint(key=successor))).status == 200
        assert (await api.get(token=mint())).status == 401


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_may_write_is_begun_anew(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock, mode: int
) -> None:
    """Neither read nor added to."""
    await hear_of(issuer, feed, path, clock, "one")
    path.chmod(mode)
    feed.is_cut = True
    async with following(issuer, feed, path, clock) as api:
        await started(api)
        assert health(api).held == 0
    feed.is_cut = False
    await hear_of(issuer, feed, path, clock, "two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    feed.is_cut = True
    async with following(issuer, feed, path, clock) as api:
        await started(api)
        assert [await status_of(api, token) for token in ("one", "two")] == [401, 401]


async def test_a_file_that_cannot_be_written_costs_nothing_else(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock
) -> None:
    """A folder that is a file: revocations are followed all the same, and written once there is a place for them."""
    path.parent.write_text("in the way")
    async with following(issuer, feed, path, clock) as api:
        feed.revoke(RevokedKind.TOKEN, "one")
        await taken_in(api, feed)
        assert await status_of(api, "one") == 401
        path.parent.unlink()
        feed.revoke(RevokedKind.TOKEN, "two")
        await taken_in(api, feed)
        await pass_time(api, clock, 2)
    assert len([line for line in path.read_bytes().split(b"\n") if line]) == 2


class Written:
    """Documents written to a file without a service around it."""

    def __init__(self, path: Path, clock: FrozenClock) -> None:
        self.clock = clock
        self.file = KeptRevocations(path, ISSUER, clock)
        self.count = 0

    def keep(self, *, life: int = KEPT_SECONDS) -> bytes:
        self.count += 1
        feed = Feed(self.clock)
        feed.revoke(RevokedKind.TOKEN, f"token-{self.count}")
        (group,) = [each._replace(expires_at=int(self.clock.now()) + life) for each in feed.groups()]
        document = RevocationDocument(ISSUER, int(NOW), 0, Position(1, "m"), 1, [group])
        body = encode_document(document, signing_key())
        self.file.keep(body, document)
        return body

    async def load(self) -> list[bytes]:
        return [body async for bodies in self.file.load() for body in bodies]


async def test_the_file_is_private_and_holds_what_was_given(path: Path, clock: FrozenClock) -> None:
    """Mode 0600 in a 0700 folder; documents come back as they were, in their order."""
    written = Written(path, clock)
    async with written.file.running():
        bodies = [written.keep() for _ in range(300)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert await written.load() == bodies


async def test_writes_are_a_second_apart(path: Path, clock: FrozenClock) -> None:
    """Whatever comes meanwhile is written together."""
    written = Written(path, clock)
    async with written.file.running():
        first = written.keep()
        await until(lambda: path.exists() and path.stat().st_size > len(first))
        size = path.stat().st_size
        bodies = [written.keep() for _ in range(3)]
        await asyncio.sleep(0.1)
        assert path.stat().st_size == size
        clock.advance(kept.WRITE_SECONDS)
        await until(lambda: path.stat().st_size >= size + sum(map(len, bodies)))


async def test_what_is_void_leaves_the_file(path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is written anew when it has doubled; what still holds is in it."""
    monkeypatch.setattr(kept, "SLACK_BYTES", 20_000)
    written = Written(path, clock)
    written.file._sweep_at = 20_000
    sizes, bodies = list[int](), list[bytes]()
    for _ in range(6):
        async with written.file.running():
            bodies = [written.keep(life=60) for _ in range(30)]
        clock.advance(70)
        sizes.append(path.stat().st_size)
        assert await written.load() == bodies
        clock.advance(60)
    assert max(sizes) < 2 * 20_000 + 30 * len(bodies[0])
    assert list(path.parent.iterdir()) == [path]


async def test_the_file_is_bounded(path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too much the newest is kept, and so is what waits to be written."""
    monkeypatch.setattr(kept, "MAX_FILE_BYTES", 40_000)
    written = Written(path, clock)
    bodies: list[bytes] = []
    for _ in range(10):
        async with written.file.running():
            bodies += [written.keep() for _ in range(10)]
        assert path.stat().st_size < 40_000
    loaded = await written.load()
    assert loaded == bodies[-len(loaded) :]
    assert sum(map(len, loaded)) > 40_000 / 3
    monkeypatch.setattr(kept, "MAX_PENDING_BYTES", 3 * len(bodies[0]))
    for _ in range(10):
        written.keep()
    assert len(written.file._pending) == 2


async def test_a_file_that_cannot_be_made_smaller_is_not_written_again_and_again(
    path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for a second copy beside it: what arrived is in it once, and the next attempt waits until more has."""
    attempts = 0

    def full(*_: Any, **__: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "SLACK_BYTES", 10)
    monkeypatch.setattr(kept, "write_private_file", full)
    document = RevocationDocument(ISSUER, int(NOW), 0, Position(1, "mark"), 1, ())
    revocations = KeptRevocations(path, ISSUER, clock)
    async with revocations.running():
        revocations.keep(b"a" * 100, document)
        for _ in range(5):
            await asyncio.sleep(0.01)
            clock.advance(5)
        await until(lambda: attempts > 0)
    assert path.read_bytes().count(b"a" * 100) == 1
    assert attempts == 1


async def test_two_processes_lose_nothing_of_each_other(
    path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One adds to the file while the other writes it anew."""
    monkeypatch.setattr(kept, "SLACK_BYTES", 0)
    one, other = Written(path, clock), Written(path, clock)
    bodies: list[bytes] = []
    for _ in range(10):
        async with one.file.running(), other.file.running():
            one.file._sweep_at = other.file._sweep_at = 0
            bodies += [written.keep() for written in (one, other) for _ in range(5)]
    assert sorted(await one.load()) == sorted(bodies)


async def test_a_full_disk_leaves_no_half(path: Path, clock: FrozenClock) -> None:
    """What a write that failed has left is taken back, so that the same documents do not stand there twice."""
    written = Written(path, clock)
    async with written.file.running():
        bodies = [written.keep()]
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with written.file.running():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        try:
            bodies.append(written.keep())
            await until(lambda: written.file._is_failing)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert path.stat().st_size == size
    assert await written.load() == bodies
    assert path.stat().st_size < 2 * size + 10


async def test_no_more_is_taken_in_than_is_ever_held(
    issuer: Issuer, feed: Feed, path: Path, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the file nor from the feed, which then counts as failing."""
    await hear_of(issuer, feed, path, clock, "one", "two", "three")
    monkeypatch.setattr(revocation_feed, "MAX_HELD", 2)
    async with following(issuer, feed, path, clock) as api:
        await until(lambda: health(api).faults.get("too_many_entries", 0) > 0)
        assert health(api).held == 2
