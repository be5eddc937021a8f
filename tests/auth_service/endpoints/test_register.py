"""`POST /register` over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from auth_service.identity.passwords import MAX_CHARACTERS
from auth_service.settings import AuthSettings
from tests.auth_service.running import (
    EACH_DATABASE,
    NEW_PASSWORD,
    PASSWORD,
    AuthClient,
    assert_refused,
    in_database,
    running_auth,
)
from tests.clock import FrozenClock


async def test_an_account_is_made_and_can_sign_in(auth: AuthClient) -> None:
    """201 with the subject and the name as typed; nothing else about the account, and not to be stored."""
    reply = await auth.post("/register", {"username": "Alice", "password": PASSWORD})
    assert reply.status == 201
    assert set(reply.json()) == {"sub", "username"}
    assert reply.json()["username"] == "Alice"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Content-Type"] == "application/json"
    tokens = await auth.login("alice")
    assert tokens.claims["sub"] == reply.json()["sub"]


async def test_the_optional_members_are_kept(auth: AuthClient) -> None:
    """The e-mail address and the display name come back in tokens that ask for them; the address is not verified."""
    await auth.register(email="alice@example.org", name="Alice Liddell")
    claims = (await auth.login(scope="profile email")).claims
    assert (claims["email"], claims["email_verified"], claims["name"]) == (
        "alice@example.org",
        False,
        "Alice Liddell",
    )


async def test_null_is_an_optional_member_that_is_not_given(auth: AuthClient) -> None:
    """JSON null for `email` and `name` means none."""
    reply = await auth.post("/register", {"username": "alice", "password": PASSWORD, "email": None, "name": None})
    assert reply.status == 201


async def test_a_member_of_the_wrong_form_is_named(auth: AuthClient) -> None:
    """400 names the member, never its value; no account is made."""
    cases: list[tuple[dict[str, object], str]] = [
        ({"username": None}, "username"),
        ({"username": 7}, "username"),
        ({"username": ["alice"]}, "username"),
        ({"username": {"$ne": ""}}, "username"),
        ({"username": True}, "username"),
        ({"password": None}, "password"),
        ({"password": 12345678}, "password"),
        ({"password": [PASSWORD]}, "password"),
        ({"email": 7}, "email"),
        ({"email": ""}, "email"),
        ({"email": "no address at all"}, "email"),
        ({"email": "a" * 250 + "@example.org"}, "email"),
        ({"email": ["alice@example.org"]}, "email"),
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": 7}, "name"),
    ]
    for change, named in cases:
        reply = await auth.post("/register", {"username": "alice", "password": PASSWORD, **change})
        assert_refused(reply, 400, "invalid_request")
        assert reply.json()["error_description"] == f"Missing or malformed: {named}."
    await auth.register("alice")


@pytest.mark.parametrize("missing", ["username", "password"])
async def test_a_missing_member_is_named(auth: AuthClient, missing: str) -> None:
    """What is absent is told like what is malformed."""
    body = {"username": "alice", "password": PASSWORD}
    del body[missing]
    reply = await auth.post("/register", body)
    assert_refused(reply, 400, "invalid_request")
    assert missing in reply.json()["error_description"]


async def test_no_other_member_is_taken(auth: AuthClient) -> None:
    """Hostile cases, mass assignment (CVE-2026-27946, CVE-2026-54693): 400, and no account is made."""
    for extra in [
        "email_verified",
        "sub",
        "id",
        "is_admin",
        "role",
        "state",
        "password_hash",
        "created_at",
        "__proto__",
        "Username",
    ]:
        for value in (True, "true", 1, "c2VsZi1jaG9zZW4taWQ"):
            reply = await auth.post("/register", {"username": "alice", "password": PASSWORD, extra: value})
            assert_refused(reply, 400, "invalid_request")
    await auth.register("alice")


async def test_a_name_that_cannot_be_is_refused(auth: AuthClient) -> None:
    """An impossible name is 400 with the rule; the name itself is not repeated."""
    for username in ["", " ", "a b", "al\u0000ice", "\u202ealice", "x" * 65, "x" * 5_000, "\u0301a"]:
        reply = await auth.post("/register", {"username": username, "password": PASSWORD})
        assert_refused(reply, 400, "invalid_request")
        assert "user name" in reply.json()["error_description"]


async def test_a_weak_password_is_refused_with_the_reason(auth: AuthClient) -> None:
    """400 `weak_password`; no account is made."""
    for password in ["", "1234567", "password1", "PASSWORD1", "alicealice", "x" * (MAX_CHARACTERS + 1), "signet-alice"]:
        reply = await auth.post("/register", {"username": "alice", "password": password})
        assert_refused(reply, 400, "weak_password")
        assert "password" in reply.json()["error_description"]
    await auth.register("alice")


@pytest.mark.parametrize(
    "password",
    [
        "x" * MAX_CHARACTERS,
        "  leading and trailing  ",
        "\N{PILE OF POO}" * 8,
        "e\u0301" * 8,
        "a\u0000b\u0000c\u0000d\u0000",
        "tab\tand\nline feed",
        "\u202e\u200b\ufeff\ufffe\u2028 x y z",
    ],
)
async def test_a_password_is_taken_exactly_as_sent(auth: AuthClient, password: str) -> None:
    """Any Unicode up to the limit; neither trimmed nor normalised (ASVS 5.0 6.2.8)."""
    await auth.register(password=password)
    await auth.login(password=password)
    changed = [password.strip(), password + " ", password[:-1], password.replace("e\u0301", "\u00e9")]
    for other in {*changed, password.partition("\u0000")[0]} - {password}:
        assert_refused(await auth.post("/login", {"username": "alice", "password": other}), 401, "invalid_credentials")


async def test_a_taken_name_is_a_conflict(auth: AuthClient) -> None:
    """409 for the name and for what looks like it; the first account stays as it was."""
    sub = await auth.register("alice")
    for username in [
        "alice",
        "ALICE",
        "\uff41lice",
        "\N{CYRILLIC SMALL LETTER A}lice",
        "ali\u0307ce",
        "ali\U00016fe4ce",
    ]:
        reply = await auth.post("/register", {"username": username, "password": NEW_PASSWORD})
        assert_refused(reply, 409, "username_taken")
        assert (await auth.login("alice")).claims["sub"] == sub


@EACH_DATABASE
async def test_registrations_of_one_name_at_once_make_one_account(auth: AuthClient) -> None:
    """One 201 and else 409, on both databases."""
    sent = [{"username": name, "password": f"{PASSWORD} {name}"} for name in ("alice", "Alice", "ALICE", "aLICE") * 4]
    replies = await asyncio.gather(*(auth.post("/register", body) for body in sent))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 15


async def test_a_closed_service_takes_nobody(auth_environment: dict[str, str], clock: FrozenClock) -> None:
    """With AUTH_REGISTRATION=closed the answer is 403 whatever is sent, so no name can be asked for."""
    settings = AuthSettings.load({**auth_environment, "AUTH_REGISTRATION": "closed"})
    async with running_auth(settings, clock) as auth:
        bodies: list[object] = [{"username": "alice", "password": PASSWORD}, {}, [], {"username": "alice"}]
        for body in bodies:
            assert_refused(await auth.post("/register", body), 403, "registration_closed")
    assert await in_database(settings, lambda records: records.accounts.list()) == []


async def test_a_member_that_is_given_twice_is_refused(auth: AuthClient) -> None:
    """Two readers could take different ones: 400."""
    body = json.dumps({"username": "alice", "password": PASSWORD})[:-1] + ', "username": "bob"}'
    assert_refused(await auth.post("/register", body.encode()), 400, "invalid_request")


async def test_the_name_of_a_deleted_account_brings_none_of_its_identity(
    auth: AuthClient, auth_settings: AuthSettings
) -> None:
    """Hostile cases, CVE-2026-55670: a new account under the old name has another subject, old tokens do not apply."""
    sub = await auth.register("alice")
    old = await auth.login("alice")
    await in_database(auth_settings, lambda records: records.accounts.delete(sub))
    assert await auth.register("alice") != sub
    assert_refused(await auth.refresh(old.refresh_token), 400, "invalid_grant")
    assert_refused(await auth.get("/sessions", token=old.access_token), 401, "invalid_token")
