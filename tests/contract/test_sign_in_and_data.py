"""Sign in on one port, read your own data on the other."""

from __future__ import annotations

import asyncio

from tests.auth_service.running import PASSWORD, assert_refused
from tests.contract.running import BothServices

DATA = "/userData"


async def stored(both: BothServices, token: str) -> object:
    """All that the resource service shows for this token."""
    reply = await both.resource.get(DATA, token=token)
    assert reply.status == 200
    assert set(reply.json()) == {"status", "data"}
    assert reply.json()["status"] == "Success"
    return reply.json()["data"]


async def put(both: BothServices, token: str, name: str, value: object) -> int:
    return (await both.resource.call("PUT", f"{DATA}/{name}", body=value, token=token)).status


async def test_register_sign_in_store_and_read(both: BothServices) -> None:
    """The whole way, and its answers as the contract has them."""
    tokens = await both.auth.new_user("alice")
    token = tokens.access_token
    assert await stored(both, token) == {}
    assert await put(both, token, "greeting", "hello") == 201
    assert await put(both, token, "greeting", {"hello": ["w\u00f6rld", 1, None]}) == 204
    assert await stored(both, token) == {"greeting": {"hello": ["w\u00f6rld", 1, None]}}
    one = await both.resource.get(f"{DATA}/greeting", token=token)
    assert one.json() == {"hello": ["w\u00f6rld", 1, None]}
    assert (await both.resource.call("DELETE", f"{DATA}/greeting", token=token)).status == 204
    assert await stored(both, token) == {}


async def test_each_user_has_only_the_own_data(both: BothServices) -> None:
    """Same names, many users at once: nobody reads, overwrites or deletes what is another's."""
    names = [f"user-{number}" for number in range(12)]
    tokens = [tokens.access_token for tokens in await asyncio.gather(*(both.auth.new_user(name) for name in names))]
    values = [f"secret of {name}" for name in names]
    assert set(
        await asyncio.gather(*(put(both, token, "diary", value) for token, value in zip(tokens, values, strict=True)))
    ) == {201}
    assert await asyncio.gather(*(stored(both, token) for token in tokens)) == [{"diary": value} for value in values]
    assert (await both.resource.call("DELETE", f"{DATA}/diary", token=tokens[0])).status == 204
    assert await asyncio.gather(*(stored(both, token) for token in tokens)) == [
        {},
        *({"diary": value} for value in values[1:]),
    ]
    assert_refused(await both.resource.get(f"{DATA}/diary", token=tokens[0]), 404, "not_found")


async def test_a_token_reaches_as_far_as_its_scope(both: BothServices) -> None:
    """`data:read` reads and does not write, `data:write` the other way round; 403 names what is missing."""
    await both.auth.register()
    full = (await both.auth.login()).access_token
    read = (await both.auth.login(scope="data:read")).access_token
    write = (await both.auth.login(scope="data:write profile")).access_token
    person = (await both.auth.login(scope="profile email")).access_token
    assert await put(both, full, "a", 1) == 201
    assert await stored(both, read) == {"a": 1}
    assert await put(both, write, "b", 2) == 201
    for token, method, path, scope in (
        (read, "PUT", f"{DATA}/a", "data:write"),
        (read, "DELETE", f"{DATA}/a", "data:write"),
        (write, "GET", DATA, "data:read"),
        (write, "GET", f"{DATA}/a", "data:read"),
        (person, "GET", DATA, "data:read"),
    ):
        body = 2 if method == "PUT" else None
        reply = await both.resource.call(method, path, body=body, token=token)
        assert_refused(reply, 403, "insufficient_scope")
        assert f'scope="{scope}"' in reply.headers["WWW-Authenticate"]
    assert await stored(both, full) == {"a": 1, "b": 2}


async def test_a_narrowed_refresh_narrows_what_the_resource_allows(both: BothServices) -> None:
    """What `/token` left out is not there; the next whole one has it again."""
    tokens = await both.auth.new_user()
    narrow = await both.auth.refreshed(tokens.refresh_token, scope="data:read")
    assert await stored(both, narrow.access_token) == {}
    reply = await both.resource.call("PUT", f"{DATA}/a", body=1, token=narrow.access_token)
    assert_refused(reply, 403, "insufficient_scope")
    whole = await both.auth.refreshed(narrow.refresh_token)
    assert await put(both, whole.access_token, "a", 1) == 201


async def test_only_an_access_token_opens_the_data(both: BothServices) -> None:
    """Neither the refresh token, nor the password, nor a token that was changed by one character."""
    tokens = await both.auth.new_user()
    token = tokens.access_token
    header, claims, signature = token.split(".")
    for wrong in (
        tokens.refresh_token,
        PASSWORD.replace(" ", ""),
        f"{header}.{claims}.{signature[:-5]}AAAAA",
        f"{header}.{claims[:-5]}AAAAA.{signature}",
        f"{header}.{claims}.",
    ):
        assert_refused(await both.resource.get(DATA, token=wrong), 401, "invalid_token")
    reply = await both.resource.get(f"{DATA}?access_token={token}")
    assert_refused(reply, 401, "missing_credentials")
    assert "resource_metadata=" in reply.headers["WWW-Authenticate"]
    reply = await both.resource.get(DATA, headers={"Authorization": f"JWT {token}"})
    assert reply.status == 200


async def test_a_token_ends_when_it_says(both: BothServices) -> None:
    """Good for 300 seconds and five of leeway; then a refreshed one goes on."""
    tokens = await both.auth.new_user()
    await both.auth.pass_time(304.9)
    await stored(both, tokens.access_token)
    await both.auth.pass_time(0.2)
    assert_refused(await both.resource.get(DATA, token=tokens.access_token), 401, "invalid_token")
    renewed = await both.auth.refreshed(tokens.refresh_token)
    await stored(both, renewed.access_token)


async def test_a_restart_of_both_keeps_tokens_accounts_and_data(both: BothServices) -> None:
    """What was signed before is verified after; name, password, session and items are there."""
    tokens = await both.auth.new_user()
    assert await put(both, tokens.access_token, "kept", [1]) == 201
    await both.restart()
    assert await stored(both, tokens.access_token) == {"kept": [1]}
    for renewed in (await both.auth.refreshed(tokens.refresh_token), await both.auth.login()):
        assert await stored(both, renewed.access_token) == {"kept": [1]}


async def test_the_resource_goes_on_without_the_auth_service(both: BothServices) -> None:
    """Stopped, it is not missed by whoever holds a token; back again, it signs tokens that are taken."""
    tokens = await both.auth.new_user()
    await both.stop_auth()
    for number in range(5):
        assert await put(both, tokens.access_token, f"item-{number}", number) == 201
    assert await stored(both, tokens.access_token) == {f"item-{number}": number for number in range(5)}
    assert_refused(await both.resource.get(DATA, token="e30.e30.e30"), 401, "invalid_token")
    assert (await both.resource.get("/readyz")).status == 200
    await both.start_auth()
    await stored(both, (await both.auth.login()).access_token)


async def test_the_metadata_of_the_two_point_at_each_other(both: BothServices) -> None:
    """RFC 9728 and RFC 8414: from the challenge to the resource's metadata, to its issuer, to the issuer's keys."""
    challenge = (await both.resource.get(DATA)).headers["WWW-Authenticate"]
    assert f'resource_metadata="{both.identifier}/.well-known/oauth-protected-resource"' in challenge
    resource = (await both.resource.get("/.well-known/oauth-protected-resource")).json()
    assert (resource["resource"], resource["authorization_servers"]) == (both.identifier, [both.issuer])
    issuer = (await both.auth.get("/.well-known/oauth-authorization-server")).json()
    assert issuer["issuer"] == both.issuer
    assert resource["resource"] in issuer["protected_resources"]
    assert set(resource["scopes_supported"]) <= set(issuer["scopes_supported"])
    assert issuer["jwks_uri"] == f"{both.issuer}/.well-known/jwks.json"


async def test_a_token_for_another_resource_is_refused(both: BothServices) -> None:
    """The identifier is compared exactly: the same host by another name is another resource."""
    tokens = await both.auth.new_user()
    assert tokens.claims["aud"] == both.identifier
    own = await both.resource.get(DATA, token=tokens.access_token)
    assert own.status == 200
    assert_refused(await both.auth.refresh(tokens.refresh_token, resource=both.issuer), 400, "invalid_target")
