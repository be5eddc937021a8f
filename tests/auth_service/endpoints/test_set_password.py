"""`/set-password` over HTTP: the page that a password link leads to."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from auth_service.endpoints.set_password import MAX_BYTES, password_link
from auth_service.identity.passwords import PasswordHasher
from auth_service.model.password_link import LinkToken
from auth_service.settings import AuthSettings
from shared.errors import Unavailable
from shared.revocation_feed import RevokedKind
from tests.auth_service.endpoints.state import make_link, stored_events
from tests.auth_service.feed import FeedReader
from tests.auth_service.running import (
    EACH_DATABASE,
    FORM,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    assert_refused,
    is_page,
    running_auth,
)
from tests.clock import FrozenClock
from tests.wire import Reply

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", **FORM}


class Page(HTMLParser):
    """What stands on a page: each element's attributes by its id or name, and the text."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        assert is_page(reply)
        self.elements: dict[str, dict[str, str | None]] = {}
        self.labels: set[str | None] = set()
        self.text = ""
        self.feed(reply.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "label":
            self.labels.add(found["for"])
        self.elements[found.get("id") or found.get("name") or tag] = found

    def handle_data(self, data: str) -> None:
        self.text += data


async def look(auth: AuthClient, token: str) -> Reply:
    return await auth.get(f"/set-password?token={token}", headers=BROWSER)


async def choose(auth: AuthClient, token: str, password: str = NEW_PASSWORD, **form: str) -> Reply:
    """Send the form as the page does."""
    fields = {"token": token, "new_password": password, "repeated_password": password, **form}
    return await auth.call("POST", "/set-password", body=urlencode(fields).encode(), headers=BROWSER)


def assert_void(reply: Reply) -> None:
    """The one page for a link that does not work, whatever the reason."""
    assert reply.status == 404
    assert "This link does not work" in Page(reply).text
    assert not re.search(r"expired|disabled|used|<form|<input", reply.body.decode().partition("</style>")[2])


@pytest.fixture
async def token(auth: AuthClient, auth_settings: AuthSettings) -> str:
    """A link for alice, who is registered."""
    await auth.register()
    return await make_link(auth_settings, "alice")


@EACH_DATABASE
async def test_the_owner_chooses_a_password(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """The page, the form, 303 to a page that says it is done; the new password is in force, the old one is not."""
    await auth.register()
    token = await make_link(auth_settings, "alice")
    assert (await look(auth, token)).status == 200
    reply = await choose(auth, token)
    assert (reply.status, reply.headers["Location"]) == (303, "set-password/done")
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.body == b""
    assert "The password is set" in Page(await auth.get("/set-password/done")).text
    await auth.login(password=NEW_PASSWORD)
    assert_refused(await auth.post("/login", {"username": "alice", "password": PASSWORD}), 401, "invalid_credentials")
    assert_void(await look(auth, token))
    assert_void(await choose(auth, token))


async def test_the_page_is_for_people_and_their_password_managers(auth: AuthClient, token: str) -> None:
    """The account's name, labels, the rule, no script; nothing hinders pasting, and nothing cuts a long password."""
    page = Page(await look(auth, token))
    form = page.elements["form"]
    assert (form["method"], form["action"]) == ("post", "set-password")
    assert page.elements["html"]["lang"] == "en"
    account, new, again = (page.elements[name] for name in ("account", "new-password", "repeated-password"))
    assert {"account", "new-password", "repeated-password"} == page.labels
    assert (account["value"], account["autocomplete"]) == ("alice", "username")
    assert "name" not in account
    for field in (new, again):
        assert (field["type"], field["autocomplete"]) == ("password", "new-password")
        assert "required" in field
        assert "maxlength" not in field
        assert "value" not in field
    assert (new["minlength"], new["aria-describedby"]) == ("8", "rule")
    assert "At least 8 characters" in page.text
    assert page.elements["token"]["value"] == token
    assert "width=device-width" in str(page.elements["viewport"]["content"])


async def test_a_first_password_replaces_nothing(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """An account made without a password: its owner is not told of one before."""
    token = await make_link(auth_settings, "bob", password_hash=None)
    assert "replaces" not in Page(await look(auth, token)).text
    assert (await choose(auth, token)).status == 303
    await auth.login("bob", NEW_PASSWORD)
    token = await make_link(auth_settings, "bob")
    assert "replaces" in Page(await look(auth, token)).text


@EACH_DATABASE
async def test_every_session_ends(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-34828: refresh ends, access tokens end, resource servers are told; others' stay."""
    tokens, bob = [await auth.new_user(), await auth.login()], await auth.new_user("bob")
    feed = FeedReader(auth)
    assert (await choose(auth, await make_link(auth_settings, "alice"))).status == 303
    await feed.read()
    for one in tokens:
        assert_refused(await auth.refresh(one.refresh_token), 400, "invalid_grant")
        assert_refused(await auth.get("/sessions", token=one.access_token), 401, "invalid_token")
        assert feed.holds(RevokedKind.SESSION, one.sid)
    assert not feed.holds(RevokedKind.SESSION, bob.sid)
    await auth.refreshed(bob.refresh_token)


async def test_looking_at_a_link_changes_nothing(auth: AuthClient, auth_settings: AuthSettings, token: str) -> None:
    """A mail scanner asks with GET and HEAD, as often as it likes; nothing is written."""
    before = await stored_events(auth_settings)
    for _ in range(3):
        assert (await look(auth, token)).status == 200
        assert (await auth.call("HEAD", f"/set-password?token={token}")).status == 200
    assert await stored_events(auth_settings) == before
    assert (await choose(auth, token)).status == 303


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "at least 8 characters"),
        ("1234567", "at least 8 characters"),
        ("password1", "most common"),
        ("alicealice", "Apart from the user name"),
        ("x" * 1_025, "at most 1024 characters"),
        ("🌊" * 1_025, "at most 1024 characters"),
    ],
)
async def test_a_weak_password_brings_the_page_again(auth: AuthClient, token: str, password: str, reason: str) -> None:
    """400, the reason tied to the field, nothing of what was typed, and the link still works."""
    reply = await choose(auth, token, password)
    assert reply.status == 400
    page = Page(reply)
    assert reason in page.text
    field = page.elements["new-password"]
    assert (field["aria-describedby"], field["aria-invalid"]) == ("problem rule", "true")
    assert page.elements["problem"]["role"] == "alert"
    assert len(password) < 8 or password not in reply.body.decode()
    assert "Set-Cookie" not in reply.headers
    await auth.login(password=PASSWORD)
    assert (await choose(auth, token)).status == 303


async def test_two_different_passwords_bring_the_page_again(auth: AuthClient, token: str) -> None:
    """What nobody could read while typing it is typed twice."""
    for repeated in ("", NEW_PASSWORD + " ", NEW_PASSWORD.upper()):
        reply = await choose(auth, token, repeated_password=repeated)
        assert reply.status == 400
        assert "not the same" in Page(reply).text
    assert (await choose(auth, token)).status == 303


@pytest.mark.parametrize(
    "password",
    ["correct horse\tbattery", " spaces around it ", "пароль, который длинный", "🌊" * 1_024, "a+b&c=d%20e;f"],
)
async def test_a_password_is_taken_exactly_as_typed(auth: AuthClient, token: str, password: str) -> None:
    """Any Unicode, up to the longest, nothing trimmed or folded (ASVS 5.0 6.2.8)."""
    assert (await choose(auth, token, password)).status == 303
    await auth.login(password=password)


@pytest.mark.parametrize(
    "presented",
    ["", "x", "signet_link_" + "A" * 43, "signet_refresh_" + "A" * 64, "%00", "signet_link_" + "A" * 5_000, "%ff%fe"],
)
async def test_what_nobody_made_is_void(auth: AuthClient, token: str, presented: str) -> None:
    """404 with the one page, on GET and on POST, and nothing of it comes back."""
    for reply in (await look(auth, presented), await choose(auth, presented)):
        assert_void(reply)
        assert len(presented) < 10 or presented.encode() not in reply.body
    assert_void(await auth.get("/set-password"))
    assert_void(await auth.call("POST", "/set-password", body=b"", headers=BROWSER))
    assert_void(await choose(auth, token + "x"))
    assert (await look(auth, token)).status == 200


async def test_every_void_link_is_answered_alike(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Unknown, superseded, expired, used, of a disabled account: the same to the byte."""
    await auth.register()
    bodies = {(await look(auth, LinkToken.new().clear_text)).body}
    superseded, expired = [await make_link(auth_settings, "alice", lifetime=600) for _ in range(2)]
    bodies.add((await choose(auth, superseded)).body)
    auth.clock.advance(600)
    bodies.add((await choose(auth, expired)).body)
    used = await make_link(auth_settings, "alice", at=auth.clock.now())
    await choose(auth, used)
    bodies.add((await choose(auth, used)).body)
    assert len(bodies) == 1
    reasons = [event.detail["reason"] for event in await stored_events(auth_settings) if "reason" in event.detail]
    assert reasons[:3] == ["used", "expired", "superseded"]


@EACH_DATABASE
async def test_of_forms_at_once_one_counts(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """One 303, the others are void, and it is the winner's password that is in force."""
    await auth.register()
    token = await make_link(auth_settings, "alice")
    replies = await asyncio.gather(*(choose(auth, token, f"{NEW_PASSWORD} {number}") for number in range(8)))
    assert sorted(reply.status for reply in replies) == [303] + [404] * 7
    won = [reply.status for reply in replies].index(303)
    await auth.login(password=f"{NEW_PASSWORD} {won}")


async def test_a_form_of_another_site_is_refused(auth: AuthClient, token: str) -> None:
    """A page elsewhere could only send a token of its own; not even that: it would make this device a stranger."""
    body = urlencode({"token": token, "new_password": NEW_PASSWORD, "repeated_password": NEW_PASSWORD}).encode()
    for site in ("cross-site", "same-site"):
        headers = {**FORM, "Sec-Fetch-Site": site}
        assert_refused(await auth.call("POST", "/set-password", body=body, headers=headers), 403, "cross_site_form")
    headers = {**FORM, "Sec-Fetch-Site": "same-origin"}
    assert (await auth.call("POST", "/set-password", body=body, headers=headers)).status == 303


async def test_what_is_malformed_is_told_as_it_was_asked_for(auth: AuthClient, token: str) -> None:
    """A program gets the one form of refusal, a browser a page; the link still works."""
    good = urlencode({"token": token, "new_password": NEW_PASSWORD, "repeated_password": NEW_PASSWORD})
    for body, content_type, status in (
        (b"{}", "application/json", 415),
        (b"token=%ff", FORM["Content-Type"], 400),
        (f"{good}&token={token}".encode(), FORM["Content-Type"], 400),
        (good.encode() + b"&x=" + b"x" * MAX_BYTES, FORM["Content-Type"], 413),
    ):
        program = {"Content-Type": content_type, "Accept": "*/*"}
        plain = await auth.call("POST", "/set-password", body=body, headers=program)
        shown = await auth.call("POST", "/set-password", body=body, headers={**BROWSER, "Content-Type": content_type})
        assert (plain.status, shown.status) == (status, status)
        assert not is_page(plain)
        assert plain.json()["error_description"] in Page(shown).text
    assert (await choose(auth, token)).status == 303


async def test_a_full_house_is_told_and_costs_no_link(
    auth: AuthClient, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, as a page for a browser."""

    async def full(_hasher: PasswordHasher, _password: str) -> str:
        raise Unavailable("Too many passwords are being checked.", retry_after=2)

    with monkeypatch.context() as patched:
        patched.setattr(PasswordHasher, "hash", full)
        reply = await choose(auth, token)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
        assert "Too many passwords" in Page(reply).text
    assert (await choose(auth, token)).status == 303


async def test_a_name_is_shown_as_text(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Whatever stands in a name is no markup."""
    name = "\"><b>&amp;'</b>"
    token = await make_link(auth_settings, "bob", password_hash=None, username=name)
    reply = await look(auth, token)
    assert b"<b>" not in reply.body
    assert Page(reply).elements["account"]["value"] == name


async def test_the_browser_becomes_known(auth: AuthClient, auth_settings: AuthSettings, token: str) -> None:
    """Where strangers have spent what may fail, the owner signs in where the password was chosen."""
    async with running_auth(auth_settings, auth.clock) as other:
        reply = await choose(other, token)
    cookie = reply.headers["Set-Cookie"].partition(";")[0]
    failed = [await auth.post("/login", {"username": "alice", "password": f"a wrong {n}"}) for n in range(101)]
    assert failed[-1].status == 429
    credentials = {"username": "alice", "password": NEW_PASSWORD}
    assert (await auth.post("/login", credentials)).status == 429
    assert (await auth.post("/login", credentials, Cookie=cookie)).status == 200


@pytest.mark.parametrize("issuer", ["http://localhost:8001", "https://id.example.org", "https://example.org/auth"])
def test_the_link_is_made_of_the_issuer(issuer: str) -> None:
    """Never of a request (hostile cases, CVE-2025-64101); an issuer with a path keeps it."""
    token = LinkToken.new()
    assert password_link(issuer, token) == f"{issuer}/set-password?token={token.clear_text}"


async def test_no_header_moves_the_form_elsewhere(auth: AuthClient, token: str) -> None:
    """Hostile cases, CVE-2025-64101, GO-2026-5737: page and redirect hold no address of a request's making."""
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "host=evil.example",
        "X-Original-URL": "/evil",
    }
    reply = await auth.get(f"/set-password?token={token}&next=//evil.example", headers={**BROWSER, **forged})
    assert b"evil" not in reply.body
    done = await choose(auth, token, redirect_uri="https://evil.example", next="//evil.example")
    assert done.headers["Location"] == "set-password/done"


async def test_no_log_line_holds_the_token(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """Not even where each request is logged: only the route is."""
    settings = AuthSettings.load({**auth_environment, "AUTH_ACCESS_LOG": "true"})
    async with running_auth(settings, clock) as auth:
        await auth.register()
        token = await make_link(settings, "alice")
        with capture_logs() as lines:
            await look(auth, token)
            await choose(auth, token, "short")
            await choose(auth, token)
            await choose(auth, token)
    assert {line["event"] for line in lines} == {
        "request",
        "password_link_used",
        "password_changed",
        "password_link_refused",
    }
    assert token not in repr(lines)
    assert {line["route"] for line in lines if line["event"] == "request"} == {"/set-password"}
