"""`GET /verify`: what a proxy is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clock import FrozenClock
from tests.issuer import LocalIssuer
from tests.resource_service.running import RunningResourceService, run_resource_service


async def test_a_good_token_is_let_through_with_its_identity(service: RunningResourceService) -> None:
    """204, no body, and who the caller is; what the token does not say is left out."""
    ann = service.caller("ann", scope="data:read", session_id="session-1")
    answer = await ann.get("/verify")
    assert answer.status == 204
    identity = {name: value for name, value in answer.headers.items() if name.startswith("X-Auth-")}
    assert identity == {
        "X-Auth-Subject": "ann",
        "X-Auth-Issuer": service.issuer.url,
        "X-Auth-Client": "first-party",
        "X-Auth-Scope": "data:read",
        "X-Auth-Session": "session-1",
    }
    assert answer.headers["Cache-Control"] == "no-store"


async def test_profile_claims_travel_as_ascii(service: RunningResourceService) -> None:
    """A name that is not ASCII is percent-encoded, so that no proxy or backend reads it in another way."""
    profile = {"preferred_username": "jürgen 100%", "email": "j@example.org", "email_verified": True}
    answer = await service.caller("j", scope="profile email", profile=profile).get("/verify")
    assert answer.headers["X-Auth-Username"] == "j%C3%BCrgen 100%25"
    assert answer.headers["X-Auth-Email"] == "j@example.org"


async def test_subjects_that_differ_in_blanks_stay_two(service: RunningResourceService) -> None:
    """Blanks at either end of a field value are dropped on the way, so they travel encoded."""
    for subject, sent in ((" bob", "%20bob"), ("bob ", "bob%20"), ("  bob  b ", "%20%20bob  b%20"), ("bob", "bob")):
        answer = await service.caller(subject).get("/verify")
        assert answer.headers["X-Auth-Subject"] == sent


async def test_a_profile_is_told_by_its_scopes(service: RunningResourceService) -> None:
    """Claims that an issuer adds without the scope are not handed on, nor what a proxy might have no room for."""
    profile = {"preferred_username": "ann", "email": "ann@example.org", "email_verified": True}
    answer = await service.caller("ann", scope="data:read", profile=profile).get("/verify")
    assert not {"X-Auth-Username", "X-Auth-Email"} & set(answer.headers)
    long = {"preferred_username": "€" * 114, "email": "a" * 1_025, "email_verified": True}
    answer = await service.caller("ann", scope="profile email", profile=long).get("/verify")
    assert answer.status == 204
    assert not {"X-Auth-Username", "X-Auth-Email"} & set(answer.headers)
    fits = {"preferred_username": "€" * 113, "email": "a" * 1_024, "email_verified": True}
    answer = await service.caller("ann", scope="profile email", profile=fits).get("/verify")
    assert (len(answer.headers["X-Auth-Username"]), len(answer.headers["X-Auth-Email"])) == (1_017, 1_024)


@pytest.mark.parametrize("verified", [False, None])
async def test_an_unverified_address_is_not_an_identity(service: RunningResourceService, verified: bool | None) -> None:
    """Hostile cases, CVE-2026-55076: an e-mail address that nobody verified is not handed on."""
    profile = {"email": "victim@example.org"} | ({} if verified is None else {"email_verified": verified})
    answer = await service.caller("mallory", scope="email", profile=profile).get("/verify")
    assert answer.status == 204
    assert "X-Auth-Email" not in answer.headers


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer a b", "Basic YTpi", "Bearer nonsense", "Negotiate x"],
)
async def test_everything_else_is_a_401_with_a_challenge(
    service: RunningResourceService, authorization: str | None
) -> None:
    """Also what a client would be told with 400: nginx takes that for a failure of its own."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await service.get("/verify", **headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert not any(name.startswith("X-Auth-") for name in answer.headers)


async def test_two_credentials_are_refused(service: RunningResourceService) -> None:
    """Which of the two counts must not be a guess."""
    token = service.caller("ann").token
    fields = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await service.request("GET", "/verify", headers=fields)).status == 401


async def test_what_a_client_sends_as_identity_does_not_come_back(service: RunningResourceService) -> None:
    """The identity comes from the token, whatever the request carries under these names."""
    answer = await service.caller("ann").get("/verify", X_Auth_Subject="root", X_Auth_Email="root@example.org")
    assert answer.headers["X-Auth-Subject"] == "ann"
    assert "X-Auth-Email" not in answer.headers


async def test_a_mount_wants_its_scopes(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> None:
    """A mount's scopes are all needed; 403 says which, and a mount that is not configured does not exist."""
    mounts = '{"reports": ["reports:read", "reports:all"]}'
    async with run_resource_service(tmp_path, issuer, clock, FORWARD_AUTH=mounts) as service:
        assert (await service.caller("ann", scope="reports:read reports:all").get("/verify/reports")).status == 204
        narrow = await service.caller("ann", scope="reports:read").get("/verify/reports")
        assert narrow.status == 403
        assert 'scope="reports:read reports:all"' in narrow.headers["WWW-Authenticate"]
        assert (await service.caller("ann").get("/verify/others")).status == 404


async def test_without_keys_it_is_unavailable(tmp_path: Path, issuer: LocalIssuer, clock: FrozenClock) -> None:
    """503 and no challenge: the token may be good."""
    issuer.published = False
    async with run_resource_service(tmp_path, issuer, clock, ready=False) as service:
        answer = await service.caller("ann").get("/verify")
        assert answer.status == 503
        assert "Retry-After" in answer.headers
        assert "WWW-Authenticate" not in answer.headers
