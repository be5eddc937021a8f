"""Sign in on one port, read your own data on the other: the same tests for processes and for containers."""

from __future__ import annotations

import pytest

from tests.end_to_end.deployment import Deployment, Service, User
from tests.end_to_end.http import NoAnswer, call


def test_sign_in_on_one_port_and_data_on_the_other(deployment: Deployment) -> None:
    """Register, sign in, store, read: the token of one service opens one's own data at the other."""
    ada = User(deployment, "walking-ada")
    registered = ada.register()
    assert registered.status == 201
    assert registered.json()["username"] == "walking-ada"
    signed_in = ada.login().json()
    assert signed_in["token_type"] == "Bearer"
    assert signed_in["scope"] == "data:read data:write"
    assert ada.put("greeting", "hello").status == 201
    assert ada.everything().json() == {"status": "Success", "data": {"greeting": "hello"}}


def test_a_token_for_one_user_never_shows_the_data_of_another(user: User, other_user: User) -> None:
    """Another caller's item is not listed, not read, not deleted and not overwritten."""
    assert user.put("diary", {"secret": 1}).status == 201
    assert other_user.everything().json()["data"] == {}
    assert other_user.get("diary").status == 404
    assert other_user.delete("diary").status == 404
    assert other_user.put("diary", "mine").status == 201
    assert user.get("diary").json() == {"secret": 1}


def test_without_a_token_there_is_no_data(deployment: Deployment) -> None:
    """The data is behind a challenge, and a token that nobody signed opens nothing."""
    url = deployment.url(Service.RESOURCE, "/userData")
    for token in (None, "e30.e30.e30"):
        answer = call("GET", url, token=token)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_resource_service_goes_on_without_the_auth_service(deployment: Deployment, user: User) -> None:
    """With the auth service stopped, valid tokens still read and write."""
    assert user.put("kept", 1).status == 201
    deployment.stop(Service.AUTH)
    try:
        with pytest.raises(NoAnswer):
            call("GET", deployment.url(Service.AUTH, "/livez"))
        for number in range(20):
            assert user.put("kept", number).status == 204
            assert user.get("kept").json() == number
        assert call("GET", deployment.url(Service.RESOURCE, "/readyz")).status == 200
    finally:
        deployment.start(Service.AUTH)
        deployment.wait_until_ready()
    assert user.login().status == 200


def test_a_restart_of_both_keeps_tokens_accounts_and_data(deployment: Deployment, user: User) -> None:
    """After a restart the old token still works, and the accounts, the data and the signing key are there."""
    assert user.put("kept", ["a", 1, None]).status == 201
    keys = call("GET", deployment.url(Service.AUTH, "/.well-known/jwks.json")).json()
    deployment.restart()
    assert user.get("kept").json() == ["a", 1, None]
    assert user.register().status == 409
    assert user.login().status == 200
    assert user.everything().json()["data"] == {"kept": ["a", 1, None]}
    assert call("GET", deployment.url(Service.AUTH, "/.well-known/jwks.json")).json() == keys


def test_no_log_line_holds_a_password_or_a_token(deployment: Deployment, user: User) -> None:
    """What the services print in all of this names neither a password nor a token (ASVS 5.0 16.2.5)."""
    user.everything()
    for service in Service:
        words = deployment.logs(service)
        assert words
        assert "correct horse battery" not in words
        assert user.token.split(".")[2] not in words
