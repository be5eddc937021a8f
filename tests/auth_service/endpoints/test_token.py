"""`POST /token` over HTTP: its form and its client."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from auth_service.model.security_event import SecurityEventKind
from auth_service.model.storage import Records
from auth_service.settings import AuthSettings
from tests.auth_service.endpoints.state import stored_events, stored_session
from tests.auth_service.running import (
    EACH_DATABASE,
    FORM,
    PASSWORD,
    AuthClient,
    assert_refused,
    in_database,
)

# The form.


async def test_a_malformed_form_is_refused(auth: AuthClient) -> None:
    """Absent, empty (RFC 6749 section 3.2: as absent), repeated, badly encoded or too many parameters: 400."""
    for form in [
        "",
        "grant_type=",
        "grant_type=refresh_token",
        "grant_type=refresh_token&refresh_token=",
        "refresh_token=signet_refresh_x",
        "grant_type=refresh_token&grant_type=refresh_token&refresh_token=x",
        "grant_type=refresh_token&refresh_token=x&refresh_token=x",
        "grant_type=refresh_token&refresh_token=x&scope=a&scope=a",
        "grant_type=refresh_token&refresh_token=x&unknown=1&unknown=",
        "grant_type",
        "=",
        "&&&",
        "grant_type=refresh_token&refresh_token=%ff%fe",
        "grant_type=%ED%A0%80&refresh_token=x",
        "&".join(f"p{number}=1" for number in range(100)),
        "grant_type=r\u00e9fresh",
        '{"grant_type": "refresh_token"}',
    ]:
        assert_refused(await auth.post_form("/token", form), 400, "invalid_request")


async def test_a_grant_that_is_not_built_is_unsupported(auth: AuthClient) -> None:
    """400 `unsupported_grant_type`; the resource owner password grant will never be there (OAuth 2.1)."""
    for grant_type in [
        "password",
        "authorization_code",
        "client_credentials",
        "REFRESH_TOKEN",
        "refresh_token ",
        "\u0000",
        "a" * 9_000,
        "refresh_token;refresh_token=x",
    ]:
        form = {"grant_type": grant_type, "username": "alice", "password": PASSWORD, "refresh_token": "x"}
        assert_refused(await auth.post_form("/token", form), 400, "unsupported_grant_type")


async def test_only_a_form_is_read(auth: AuthClient) -> None:
    """Another media type is 415, whatever the body."""
    for content_type in [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencodedx",
        "*/*",
    ]:
        reply = await auth.call(
            "POST", "/token", body=b"grant_type=refresh_token", headers={"Content-Type": content_type}
        )
        assert_refused(reply, 415, "unsupported_media_type")


async def test_the_charset_parameter_does_no_harm(auth: AuthClient) -> None:
    """Old clients send one."""
    tokens = await auth.new_user()
    body = f"grant_type=refresh_token&refresh_token={tokens.refresh_token}".encode()
    headers = {"Content-Type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"}
    assert (await auth.call("POST", "/token", body=body, headers=headers)).status == 200


async def test_parameters_in_the_query_are_not_looked_at(auth: AuthClient) -> None:
    """Hostile cases, CVE-2026-28699: what stands in a URL ends in logs, so it is no credential here."""
    tokens = await auth.new_user()
    query = f"/token?grant_type=refresh_token&refresh_token={tokens.refresh_token}"
    assert_refused(await auth.post_form(query, ""), 400, "invalid_request")
    reply = await auth.get(f"/sessions?access_token={tokens.access_token}")
    assert_refused(reply, 401, "missing_credentials")


async def test_unknown_parameters_are_ignored(auth: AuthClient) -> None:
    """RFC 6749 section 3.2."""
    tokens = await auth.new_user()
    await auth.refreshed(tokens.refresh_token, audience="x", foo="bar")


# The client.


@pytest.mark.parametrize("client_id", ["other", "FIRST-PARTY", "first-party ", "\u0000", "first-party\u0000"])
async def test_another_client_is_not_known(auth: AuthClient, client_id: str) -> None:
    """401 `invalid_client` with a challenge; the session goes on for its own client."""
    tokens = await auth.new_user()
    reply = await auth.refresh(tokens.refresh_token, client_id=client_id)
    assert_refused(reply, 401, "invalid_client")
    assert reply.headers["WWW-Authenticate"].startswith("Basic ")
    await auth.refreshed(tokens.refresh_token, client_id="first-party")


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic " + base64.b64encode(b"first-party:").decode(),
        "Basic " + base64.b64encode(b"first-party:secret").decode(),
        "Basic !!!not base64!!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"%zz:%ff").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic",
        "Bearer {access_token}",
        "Basic {basic_token}",
        "",
    ],
)
async def test_client_credentials_are_refused_where_no_client_has_any(auth: AuthClient, authorization: str) -> None:
    """Hostile cases, Token endpoint: loosely encoded Basic, an access token as password (CVE-2026-44883): 401."""
    tokens = await auth.new_user()
    basic = base64.b64encode(f"first-party:{tokens.access_token}".encode()).decode()
    value = authorization.format(access_token=tokens.access_token, basic_token=basic)
    body = f"grant_type=refresh_token&refresh_token={tokens.refresh_token}".encode()
    reply = await auth.call("POST", "/token", body=body, headers={**FORM, "Authorization": value})
    assert_refused(reply, 401, "invalid_client")
    await auth.refreshed(tokens.refresh_token)


@pytest.mark.parametrize("parameter", ["client_secret", "client_assertion"])
async def test_a_client_that_would_authenticate_is_refused(auth: AuthClient, parameter: str) -> None:
    """A public client has no secret: 401 rather than to ignore it."""
    tokens = await auth.new_user()
    assert_refused(await auth.refresh(tokens.refresh_token, **{parameter: "x"}), 401, "invalid_client")


@EACH_DATABASE
async def test_a_session_of_another_client_is_not_continued(auth: AuthClient, auth_settings: AuthSettings) -> None:
    """Hostile cases, CVE-2026-28513, CVE-2026-55672: 400 `invalid_grant`, noted, and the session stays as it was."""
    tokens = await auth.new_user()

    def give_to_another(records: Records) -> None:
        session = records.sessions.find(tokens.sid)
        assert session is not None
        account = records.accounts.find(session.sub)
        assert account is not None
        records.accounts.delete(session.sub)
        records.accounts.add(account)
        records.sessions.add(replace(session, grant=replace(session.grant, client_id="another")))

    await in_database(auth_settings, give_to_another)
    assert_refused(await auth.refresh(tokens.refresh_token), 400, "invalid_grant")
    assert not (await stored_session(auth_settings, tokens.sid)).is_ended
    assert (await stored_events(auth_settings))[0].kind is SecurityEventKind.REFRESH_REFUSED
