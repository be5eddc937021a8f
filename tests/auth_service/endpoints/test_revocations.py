"""`GET /revocations` over HTTP: whatever ends something stands in it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress

import pytest

from auth_service.app import key_settings, master_keys
from auth_service.endpoints import revocations
from auth_service.identity.administration import AccountAdministration
from auth_service.identity.password_policy import PasswordPolicy
from auth_service.identity.passwords import PasswordHasher
from auth_service.keys.administration import KeyAdministration
from auth_service.model.revocation import ENTRY_SECONDS, revoked_session
from auth_service.model.storage import Records
from auth_service.revocations import feed as feed_module
from auth_service.settings import AuthSettings
from auth_service.storage.storage import SqlStorage
from shared import slow_client
from shared.database import Database
from shared.revocation_feed import MAX_ENTRIES, MEDIA_TYPE, Position, RevokedKind
from tests.auth_service.feed import FeedReader, verified
from tests.auth_service.running import EACH_DATABASE, NEW_PASSWORD, PASSWORD, AuthClient, in_database, running_auth
from tests.clock import FrozenClock
from tests.wire import read_reply

FULL_BYTES = 450_000
"""A little less than what a full document takes."""


async def append(settings: AuthSettings, *names: str) -> None:
    """Endings that another process commits."""

    def work(records: Records) -> None:
        for name in names:
            records.revocations.append(revoked_session(name, at=1_800_000_000))

    await in_database(settings, work)


async def test_an_empty_feed_is_a_signed_document(auth: AuthClient) -> None:
    """Whole, public, cacheable; its media type is its own."""
    reply = await auth.get("/revocations")
    assert reply.headers["Content-Type"] == MEDIA_TYPE
    assert reply.headers["Cache-Control"] == "public, max-age=1"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    document = await verified(auth, reply.body)
    assert (document.after, document.reached.seq, document.head, list(document.entries)) == (0, 0, 0, [])
    metadata = (await auth.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["revocations_uri"] == "http://localhost:8001/revocations"
    assert metadata["revocation_endpoint"] == "http://localhost:8001/revoke"
    assert metadata["revocation_endpoint_auth_methods_supported"] == ["none"]


@EACH_DATABASE
async def test_a_logout_stands_in_the_feed_once(auth: AuthClient) -> None:
    """By either token; for every token of the session, until the last of them has expired everywhere."""
    feed = FeedReader(auth)
    for token in ("access", "refresh"):
        tokens = await auth.new_user(f"user-{token}")
        for _ in range(2):
            if token == "access":
                await auth.post("/logout", token=tokens.access_token)
            else:
                await auth.post("/logout", {"refresh_token": tokens.refresh_token})
        (entry,) = (await feed.read()).entries
        assert feed.holds(RevokedKind.SESSION, tokens.sid)
        assert (entry.before, entry.expires_at) == (None, auth.clock.now() + ENTRY_SECONDS)
        assert entry.expires_at > tokens.claims["exp"] + 60
    assert feed.position.seq == 2


@EACH_DATABASE
async def test_a_password_change_ends_the_other_sessions(auth: AuthClient) -> None:
    """Each of them stands in the feed, the one that asked does not."""
    feed, first = FeedReader(auth), await auth.new_user()
    others = [await auth.login() for _ in range(2)]
    change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await auth.post("/password", change, token=first.access_token)).status == 204
    assert len((await feed.read()).entries) == 2
    assert all(feed.holds(RevokedKind.SESSION, other.sid) for other in others)


async def test_a_session_that_its_owner_ends_stands_in_the_feed(auth: AuthClient) -> None:
    """`DELETE /sessions/{sid}`."""
    feed, first = FeedReader(auth), await auth.new_user()
    other = await auth.login()
    assert (await auth.call("DELETE", f"/sessions/{other.sid}", token=first.access_token)).status == 204
    await feed.read()
    assert [entry[:2] for entry in feed.entries] == [revoked_session(other.sid, at=0)[:2]]


@EACH_DATABASE
async def test_a_copied_refresh_token_ends_its_session_in_the_feed(auth: AuthClient) -> None:
    """The refusal is answered once the entry is stored."""
    feed, first = FeedReader(auth), await auth.new_user()
    await auth.refreshed((await auth.refreshed(first.refresh_token)).refresh_token)
    assert (await auth.refresh(first.refresh_token)).status == 400
    await feed.read()
    assert feed.holds(RevokedKind.SESSION, first.sid)


@EACH_DATABASE
async def test_an_account_that_is_closed_stands_in_the_feed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Disabled: its sessions, and all that was issued so far; deleted: for good. The rows may go, the entries stay."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    sub = tokens.claims["sub"]
    database = await asyncio.to_thread(Database.open, auth_settings.database_url.reveal())
    hasher, policy = PasswordHasher(threads=1, queue_length=1), await asyncio.to_thread(PasswordPolicy, ("signet",))
    try:
        administration = AccountAdministration(SqlStorage(database), hasher, policy, auth.clock)
        assert await administration.disable(sub)
        await auth.pass_time(1)
        first = await feed.read()
        assert feed.holds(RevokedKind.SESSION, tokens.sid)
        assert [entry.before for entry in first.entries] == [None, auth.clock.now() - 1]
        assert await administration.enable(sub)
        again = await auth.login()
        assert await administration.delete(sub)
        await auth.pass_time(1)
        second = await feed.read()
        assert feed.holds(RevokedKind.SESSION, again.sid)
        assert [(entry.kind, entry.before) for entry in second.entries][-1] == (RevokedKind.ACCOUNT, None)
        assert len(second.entries) == 2
    finally:
        await hasher.close()
        await database.close()


async def test_a_revoked_key_stands_in_the_feed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """And the feed is signed by the one that took over."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    database = await asyncio.to_thread(Database.open, auth_settings.database_url.reveal())
    try:
        masters = await asyncio.to_thread(master_keys, auth_settings)
        keys = KeyAdministration(SqlStorage(database), masters, key_settings(auth_settings), auth.clock)
        await keys.revoke(tokens.header["kid"])
    finally:
        await database.close()
    await auth.pass_time(6)
    async with asyncio.timeout(20):
        while not feed.holds(RevokedKind.KEY, tokens.header["kid"]):
            await feed.read()


@EACH_DATABASE
async def test_a_reader_goes_on_from_where_it_is(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Only what is new; a reader of another feed, or of this one before it was set back, begins anew."""
    feed = FeedReader(auth)
    await append(auth_settings, "a", "b")
    await auth.pass_time(1)
    assert [(await feed.read()).after, feed.position.seq] == [0, 2]
    reached = feed.position
    await append(auth_settings, "c")
    await auth.pass_time(1)
    document = await feed.read()
    assert (document.after, len(document.entries), document.head) == (2, 1, 3)
    for stranger in (Position(2, "other"), Position(9, reached.mark), Position(99, "")):
        anew = await FeedReader(auth, stranger).read()
        assert (anew.after, len(anew.entries)) == (0, 3)
    assert (await FeedReader(auth, Position(2, "")).read()).after == 2


async def test_a_reader_far_behind_gets_the_feed_in_parts(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Until the last sequence number is reached, each part signed."""
    count = MAX_ENTRIES + 10
    await append(auth_settings, *(f"s{number}" for number in range(count)))
    await auth.pass_time(1)
    feed = FeedReader(auth)
    assert (await feed.read()).is_last is False
    assert (await feed.read()).is_last is True
    assert len(feed.entries) == count == feed.position.seq


async def test_readers_that_join_share_the_pages_of_the_feed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Each page is read and signed once for all of them, though the feed grows meanwhile; the end is told as it is."""
    await append(auth_settings, *(f"s{number}" for number in range(MAX_ENTRIES + 10)))
    await auth.pass_time(1)
    feeds = [FeedReader(auth) for _ in range(5)]
    before = await _figure(auth, "signatures")
    for number, feed in enumerate(feeds):
        assert not (await feed.read()).is_last
        await append(auth_settings, f"later-{number}")
        await auth.pass_time(0.1)
    assert await _figure(auth, "signatures") - before == 1
    for feed in feeds:
        document = await feed.read()
        assert document.is_last
        assert document.head == MAX_ENTRIES + 15 == len(feed.entries)
    assert await _figure(auth, "signatures") - before == 2


@EACH_DATABASE
async def test_a_waiting_reader_hears_at_once(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Of what this process commits and of what another one does; nobody is asked to come back."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    await feed.read()
    loop = asyncio.get_running_loop()
    for end in (auth.post("/logout", token=tokens.access_token), append(auth_settings, "elsewhere")):
        waiting = asyncio.create_task(feed.read("&wait=20"))
        await until_waiting(auth, 1)
        begun = loop.time()
        await end
        assert len((await waiting).entries) == 1
        assert loop.time() - begun < 10


@EACH_DATABASE
async def test_positions_that_are_made_up_share_one_page(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Whoever makes up marks without end costs no signature, fills no place and keeps nobody from hearing anything."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    await append(auth_settings, *(f"s{number}" for number in range(20)))
    await auth.pass_time(1)
    await feed.read()
    strangers = [FeedReader(auth, Position(1 + number % 20, secrets.token_urlsafe(8))) for number in range(300)]
    before = await _figure(auth, "signatures")
    waiting = asyncio.create_task(feed.read("&wait=20"))
    await until_waiting(auth, 1)
    flood = asyncio.gather(*(stranger.read() for stranger in strangers))
    assert (await auth.post("/logout", token=tokens.access_token)).status == 204
    assert len((await waiting).entries) == 1
    assert {document.after for document in await flood} == {0}
    assert await _figure(auth, "signatures") - before <= 4


async def test_readers_who_wait_are_served_before_all_others(
    auth: AuthClient, auth_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those who count up or lag only a few pages are made at a time; where others have just been is no such page."""
    feed, tokens = FeedReader(auth), await auth.new_user()
    await append(auth_settings, *(f"s{number}" for number in range(20)))
    await auth.pass_time(1)
    await feed.read()
    monkeypatch.setattr(feed_module, "MAX_GUESSED", 0)
    refused = await auth.get("/revocations?after=7")
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)
    waiting = asyncio.create_task(feed.read("&wait=20"))
    await until_waiting(auth, 1)
    await auth.post("/logout", token=tokens.access_token)
    assert len((await waiting).entries) == 1
    assert (await FeedReader(auth).read()).head == 21


async def test_a_stream_has_a_head_and_no_body_for_who_asks_for_that(auth: AuthClient) -> None:
    """HEAD: what follows on the connection is the next answer, and nothing of an event."""
    tokens = await auth.new_user()
    await auth.post("/logout", token=tokens.access_token)
    lines = "HTTP/1.1\r\nHost: localhost\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", auth.port)
    for accept in ("text/event-stream", "*/*"):
        writer.write(f"HEAD /revocations {lines}Accept: {accept}\r\n\r\nGET /livez {lines}\r\n".encode())
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert (b"text/event-stream" in head) == (accept == "text/event-stream")
            assert (await read_reply(reader)).json() == {"status": "alive"}
    writer.close()


async def test_nothing_new_is_said_when_the_time_is_up(auth: AuthClient) -> None:
    """An empty document that tells how things stand now, not to be kept by a cache."""
    feed = FeedReader(auth)
    await feed.read()
    reply = await auth.get(f"/revocations?after=0&mark={feed.position.mark}&wait=1")
    assert reply.headers["Cache-Control"] == "no-store"
    assert (await verified(auth, reply.body)).entries == []


async def test_readers_that_wait_together_cost_one_signature(auth: AuthClient) -> None:
    """And one reading of the database."""
    tokens = await auth.new_user()
    feeds = [FeedReader(auth) for _ in range(50)]
    await asyncio.gather(*(feed.read() for feed in feeds))
    before = await _figure(auth, "signatures")
    waiting = asyncio.gather(*(feed.read("&wait=20") for feed in feeds))
    await until_waiting(auth, 50)
    await auth.post("/logout", token=tokens.access_token)
    documents = await waiting
    assert all(len(document.entries) == 1 for document in documents)
    assert await _figure(auth, "signatures") - before <= 2


async def until_waiting(auth: AuthClient, readers: int) -> None:
    """Return once so many wait for what is new."""
    async with asyncio.timeout(20):
        while await _figure(auth, "waiting") < readers:  # noqa: ASYNC110 - the service is asked as from outside
            await asyncio.sleep(0.02)


async def _figure(auth: AuthClient, name: str) -> float:
    lines = (await auth.metrics()).splitlines()
    totals = (f"signet_revocation_feed_{name} ", f"signet_revocation_feed_{name}_total ")
    return float(next(line for line in lines if line.startswith(totals)).split()[1])


async def test_a_document_that_did_not_change_is_not_sent_again(auth: AuthClient) -> None:
    """ETag and If-None-Match (RFC 9110 section 13.1.2)."""
    tokens = await auth.new_user()
    etag = (await auth.get("/revocations")).headers["ETag"]
    reply = await auth.get("/revocations", headers={"If-None-Match": etag})
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    await auth.post("/logout", token=tokens.access_token)
    assert (await auth.get("/revocations", headers={"If-None-Match": etag})).status == 200


async def test_events_carry_the_same_documents(auth: AuthClient) -> None:
    """`text/event-stream`: from the beginning, then each change; a reader that comes back goes on behind its last."""
    first, second = await auth.new_user(), await auth.login()
    await auth.post("/logout", token=first.access_token)
    url = f"http://127.0.0.1:{auth.port}/revocations"
    async with auth.http.get(url, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        event = await _event(stream.content)
        assert len((await verified(auth, event["data"])).entries) == 1
        await auth.post("/logout", token=second.access_token)
        later = await _event(stream.content)
        document = await verified(auth, later["data"])
        assert (document.after, len(document.entries)) == (1, 1)
        assert later["id"].decode() == f"{document.reached.seq}.{document.reached.mark}"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": event["id"].decode()}
    async with auth.http.get(url, headers=headers) as stream:
        assert (await _event(stream.content))["data"]
        assert (await verified(auth, later["data"])).after == 1


@pytest.mark.parametrize(("accept", "pages"), [("text/event-stream", 8), ("*/*", 1)])
async def test_a_reader_that_takes_nothing_is_cut_off(
    auth: AuthClient, auth_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch, accept: str, pages: int
) -> None:
    """After a while, whichever form it asked for; who reads meanwhile is served whole."""
    monkeypatch.setattr(slow_client, "PIECE_SECONDS", 0.3)
    await append(auth_settings, *(f"s{number}" for number in range(pages * MAX_ENTRIES)))
    await auth.pass_time(1)
    head = f"GET /revocations?after=0 HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        idle.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(idle, ("127.0.0.1", auth.port))
        # The kernel's buffers may hold several documents: more are asked for than that, and none is read.
        await loop.sock_sendall(idle, head * 40)
        await asyncio.sleep(1.5)
        assert (await FeedReader(auth).read()).count == MAX_ENTRIES
        received = 0
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                while taken := len(await loop.sock_recv(idle, 1_048_576)):
                    received += taken
        # An open connection would have run into the timeout; what the kernels held is all that came.
        assert received < 8 * FULL_BYTES


async def test_streams_that_end_leave_nothing_behind(auth: AuthClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that go away wait no longer than until the next event."""
    monkeypatch.setattr(revocations, "HEARTBEAT_SECONDS", 1.0)
    headers = {"Accept": "text/event-stream"}
    streams = [
        await auth.http.get(f"http://127.0.0.1:{auth.port}/revocations?after=0", headers=headers) for _ in range(40)
    ]
    for stream in streams:
        assert await _event(stream.content)
    async with asyncio.timeout(5):
        while await _figure(auth, "waiting") < 40:  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.02)
        for stream in streams:
            stream.close()
        while await _figure(auth, "waiting"):  # noqa: ASYNC110 - asked as from outside
            await asyncio.sleep(0.02)


async def test_a_stream_that_may_not_wait_ends(auth: AuthClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """When as many wait as may, an event is told and the reader comes again; it is not told the same without end."""
    monkeypatch.setattr(feed_module, "MAX_WAITING", 0)
    headers = {"Accept": "text/event-stream"}
    async with auth.http.get(f"http://127.0.0.1:{auth.port}/revocations?after=0", headers=headers) as stream:
        body = await stream.read()
    assert body.count(b"event: revocations") == 1
    assert body.endswith(b"\n\n")


@pytest.mark.parametrize("last", ["", "x", "1", "1.", "-1.m", "99.other", "1." + "m" * 33])
async def test_a_last_event_id_of_another_feed_begins_anew(auth: AuthClient, last: str) -> None:
    """Whatever stands there: nothing that was revoked is left out for it."""
    tokens = await auth.new_user()
    await auth.post("/logout", token=tokens.access_token)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    async with auth.http.get(f"http://127.0.0.1:{auth.port}/revocations", headers=headers) as stream:
        document = await verified(auth, (await _event(stream.content))["data"])
    assert (document.after, len(document.entries)) == (0, 1)


async def _event(content: object) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    async with asyncio.timeout(5):
        while True:
            line = (await content.readline()).rstrip(b"\n")  # type: ignore[attr-defined]
            if not line:
                return fields
            name, _, value = line.partition(b": ")
            fields[name.decode()] = value


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=1&after=2", "after=1&mark=.", "after=", "wait=x", "wait=-1", "after=1" * 9]
)
async def test_a_query_of_another_form_is_refused(auth: AuthClient, query: str) -> None:
    """400, as everywhere."""
    assert (await auth.get(f"/revocations?{query}")).status == 400


@EACH_DATABASE
async def test_every_replica_serves_the_same_feed(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """A position of one is a position of the other."""
    async with running_auth(auth_settings, FrozenClock()) as replica:
        feed, tokens = FeedReader(auth), await auth.new_user()
        await feed.read()
        there = FeedReader(replica, feed.position)
        waiting = asyncio.create_task(there.read("&wait=20"))
        await until_waiting(replica, 1)
        await auth.post("/logout", token=tokens.access_token)
        assert (await waiting).after == 0
        await feed.read()
        assert there.entries == feed.entries
        assert there.position == feed.position


async def test_what_could_not_be_put_into_the_feed_is_not_acknowledged(
    auth: AuthClient, auth_settings: AuthSettings
) -> None:
    """No entry, no ending: the session goes on and the caller hears of the failure."""
    tokens = await auth.new_user()
    database = await asyncio.to_thread(Database.open, auth_settings.database_url.reveal())
    try:
        await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE revocations RENAME TO gone"))
        assert (await auth.post("/logout", token=tokens.access_token)).status == 503
        await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE gone RENAME TO revocations"))
    finally:
        await database.close()
    await auth.refreshed(tokens.refresh_token)
    assert (await FeedReader(auth).read()).entries == []


async def test_a_stop_lets_nobody_wait(auth_settings: AuthSettings) -> None:
    """Who waits is answered when the service stops, not when the time is up."""
    begun = asyncio.get_running_loop().time()
    async with running_auth(auth_settings, FrozenClock()) as auth:
        feed = FeedReader(auth)
        await feed.read()
        waiting = asyncio.create_task(auth.get(f"/revocations?after=0&mark={feed.position.mark}&wait=30"))
        await until_waiting(auth, 1)
        # The client outlives the service's listeners here only as long as its answer takes.
    reply = (await asyncio.gather(waiting, return_exceptions=True))[0]
    assert asyncio.get_running_loop().time() - begun < 20
    assert reply is not None
