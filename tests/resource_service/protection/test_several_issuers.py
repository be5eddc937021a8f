"""More than one trusted issuer: each has its own keys, algorithms, profile and cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from resource_service.protection import TrustedIssuer
from shared.token_rules import PLAIN_JWT
from tests.clock import FrozenClock
from tests.protocol.minting import mint, signing_key
from tests.resource_service.protection.application import Api, resource_of, running_api
from tests.resource_service.protection.issuer import Issuer, hang, running_issuer, until

OTHER = "https://other.example"
OURS, THEIRS = signing_key("RS256"), signing_key("ES256")


@pytest.fixture
async def other(issuer: Issuer) -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        running.keys = [THEIRS]
        yield running


@pytest.fixture
async def both(issuer: Issuer, other: Issuer, clock: FrozenClock) -> AsyncIterator[Api]:
    """An application that trusts our issuer by the letter, and another with plain JWTs and another algorithm."""
    resource = resource_of(issuer)
    foreign = TrustedIssuer(OTHER, other.jwks_uri, algorithms=frozenset({"ES256"}), profile=PLAIN_JWT)
    async with running_api(replace(resource, issuers=(*resource.issuers, foreign)), clock) as api:
        yield api


def foreign_token(**claims: object) -> str:
    return mint(key=THEIRS, header={"typ": "JWT"}, claims={"iss": OTHER, "azp": "app", "client_id": None} | claims)


async def test_each_issuer_is_served_by_its_own_rules(both: Api) -> None:
    """The same application takes both kinds of token and tells whose each is."""
    ours_token, their_token = mint(), foreign_token()
    for _ in range(2):
        assert (await both.get(token=ours_token)).json()["iss"] == "http://localhost:8001"
        assert (await both.get(token=their_token)).json()["iss"] == OTHER
    ours, theirs = both.protection.health().issuers
    assert (ours.cache.entries, theirs.cache.entries) == (1, 1)
    assert (ours.cache.hits, theirs.cache.hits) == (1, 1)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(mint(claims={"iss": OTHER}), id="our key for their issuer"),
        pytest.param(mint(key=THEIRS), id="their key for our issuer"),
        pytest.param(mint(key=THEIRS, header={"kid": OURS.kid}, claims={"iss": OTHER}), id="our kid, their signature"),
        pytest.param(mint(header={"typ": "JWT"}), id="their looser profile for our issuer"),
        pytest.param(mint(header={"kid": THEIRS.kid}, claims={"iss": OTHER}), id="their kid, our signature"),
        pytest.param(mint(claims={"iss": "https://third.example"}), id="a third issuer"),
        pytest.param(mint(claims={"iss": [OTHER, "http://localhost:8001"]}), id="both issuers in a list"),
        pytest.param(mint(claims={"iss": None}), id="no issuer"),
    ],
)
async def test_no_issuer_speaks_for_another(both: Api, token: str) -> None:
    """Keys, algorithms and profiles of one issuer never help a token of another."""
    assert (await both.get(token=token)).status == 401


async def test_the_same_key_id_at_two_issuers(issuer: Issuer, clock: FrozenClock) -> None:
    """A key id names a key of its own issuer only."""
    async with running_issuer() as other:
        other.keys = [signing_key("RS256", 1)]
        resource = resource_of(issuer)
        foreign = TrustedIssuer(OTHER, other.jwks_uri)
        async with running_api(replace(resource, issuers=(*resource.issuers, foreign)), clock) as api:
            assert (await api.get(token=mint(key=signing_key("RS256", 1), claims={"iss": OTHER}))).status == 200
            forged = mint(key=signing_key("RS256", 1), header={"kid": OURS.kid})
            assert (await api.get(token=forged)).status == 401


async def test_one_issuer_s_outage_is_not_the_other_s(both: Api, issuer: Issuer, other: Issuer) -> None:
    """While one issuer hangs, tokens of the other are served and its keys are asked for as ever."""
    other.answer = hang
    assert (await both.get(token=mint())).status == 200
    new = signing_key("RS256", 1)
    issuer.keys = [OURS, new]
    assert (await both.get(token=mint(key=new))).status == 200
    assert len(other.key_requests) == 1


async def test_a_changed_set_empties_its_own_cache_only(
    both: Api, issuer: Issuer, other: Issuer, clock: FrozenClock
) -> None:
    """A rotation of one issuer leaves the verified tokens of the other."""
    ours_token, their_token = mint(), foreign_token()
    await both.get(token=ours_token)
    await both.get(token=their_token)
    other.keys = [THEIRS, signing_key("ES256", 1)]
    clock.advance(280)
    await until(lambda: both.protection.health().issuers[1].keys.generation == 2)
    assert (await both.get(token=ours_token)).status == 200
    assert (await both.get(token=their_token)).status == 200
    ours, theirs = both.protection.health().issuers
    assert (ours.cache.hits, theirs.cache.hits) == (1, 0)


async def test_readiness_wants_every_issuer(issuer: Issuer, clock: FrozenClock) -> None:
    """A service that cannot check the tokens of one of its issuers is not ready."""
    resource = resource_of(issuer)
    missing = TrustedIssuer(OTHER, f"{issuer.url}/nowhere")
    configuration = replace(resource, issuers=(*resource.issuers, missing))
    async with running_api(configuration, clock, wait_for_keys=False) as api:
        await until(lambda: api.protection.health().issuers[0].keys.usable)
        assert not (await api.protection.readiness.report())[0]
        assert (await api.get(token=mint())).status == 200
