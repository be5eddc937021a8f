"""Credentials in, challenges out (RFC 6750, RFC 9110 section 11, RFC 9470, RFC 9728)."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from shared.bearer import (
    Challenge,
    ChallengeError,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidToken,
    MalformedCredentials,
    MissingCredentials,
    ProtectionSpace,
    TokenFault,
    read_credentials,
)
from shared.scope import Scope

SPACE = ProtectionSpace(
    realm="data",
    resource_metadata="https://api.example/.well-known/oauth-protected-resource",
    scope=Scope("data:read", "data:write"),
)
METADATA = 'resource_metadata="https://api.example/.well-known/oauth-protected-resource"'
GOLDEN: dict[str, tuple[ChallengeError, int, str]] = {
    "missing credentials": (
        MissingCredentials(),
        401,
        f'Bearer realm="data", {METADATA}, scope="data:read data:write"',
    ),
    "malformed credentials": (
        MalformedCredentials("The Authorization field carries no token."),
        400,
        'Bearer realm="data", error="invalid_request", '
        f'error_description="The Authorization field carries no token.", {METADATA}',
    ),
    "invalid token": (
        InvalidToken(TokenFault.SIGNATURE),
        401,
        'Bearer realm="data", error="invalid_token", '
        f'error_description="The access token is not valid here.", {METADATA}',
    ),
    "expired token": (
        InvalidToken(TokenFault.EXPIRED),
        401,
        f'Bearer realm="data", error="invalid_token", error_description="The access token has expired.", {METADATA}',
    ),
    "insufficient scope": (
        InsufficientScope(Scope("data:read", "data:write")),
        403,
        'Bearer realm="data", error="insufficient_scope", '
        f'error_description="The access token does not have the scope this needs.", {METADATA}, '
        'scope="data:read data:write"',
    ),
    "insufficient user authentication": (
        InsufficientUserAuthentication(acr_values=("2", "3"), max_age=0),
        401,
        'Bearer realm="data", error="insufficient_user_authentication", '
        f'error_description="This needs a stronger or a more recent sign-in.", {METADATA}, '
        'acr_values="2 3", max_age="0"',
    ),
}


@pytest.mark.parametrize(("error", "status", "challenge"), GOLDEN.values(), ids=GOLDEN.keys())
def test_each_refusal_has_its_challenge(error: ChallengeError, status: int, challenge: str) -> None:
    """Status, challenge and `no-store` of each refusal, as the reference's section 4 has them."""
    placed = error.within(SPACE)
    assert placed.status == status
    assert dict(placed.headers) == {"WWW-Authenticate": challenge, "Cache-Control": "no-store"}


def test_a_refusal_without_a_space_still_has_its_challenge() -> None:
    """A 401 always carries a challenge (RFC 9110 section 15.5.2); members without a value are left out."""
    assert MissingCredentials().headers["WWW-Authenticate"] == "Bearer"
    assert InvalidToken(TokenFault.FORMAT).headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", ')


def test_one_text_for_all_that_a_forger_could_probe() -> None:
    """Only faults that are found behind a good signature have a text of their own."""
    telling = {TokenFault.EXPIRED, TokenFault.NOT_YET_VALID, TokenFault.REVOKED}
    texts = {InvalidToken(fault).description for fault in TokenFault if fault not in telling}
    assert texts == {"The access token is not valid here."}


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "ä", "a\x7f"], ids=ascii)
def test_a_challenge_takes_no_character_that_would_end_it(value: str) -> None:
    """A quotation mark, a backslash or a line break in a value is refused when it is configured or rendered."""
    with pytest.raises(ValueError, match="printable ASCII"):
        ProtectionSpace(realm=value)
    with pytest.raises(ValueError, match="printable ASCII"):
        str(Challenge({"realm": value}))


def headers(*fields: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict([("Host", "x"), *(("authorization", field) for field in fields)]))


@pytest.mark.parametrize("field", ["Bearer abc", "bearer abc", "BEARER   abc", "BeArEr abc"])
def test_the_scheme_is_compared_without_case(field: str) -> None:
    """RFC 9110 section 11.1: one or more spaces follow a scheme in any case."""
    assert read_credentials(headers(field)) == "abc"


def test_the_older_spelling_is_a_switch() -> None:
    """`Authorization: JWT` is taken where it is switched on, and is no credential of ours where it is not."""
    assert read_credentials(headers("JWT abc"), jwt_scheme=True) == "abc"
    assert read_credentials(headers("jwt abc"), jwt_scheme=True) == "abc"
    with pytest.raises(MissingCredentials):
        read_credentials(headers("JWT abc"))


@pytest.mark.parametrize(
    "fields", [[], ["Basic YTpi"], ["DPoP abc"], ["Bearerabc"], ["abc"], [""], ["Bearer\tabc"]], ids=str
)
def test_no_credentials_of_ours(fields: list[str]) -> None:
    """Nothing, or another scheme, is answered with a challenge that names no error (RFC 6750 section 3)."""
    with pytest.raises(MissingCredentials):
        read_credentials(headers(*fields))


@pytest.mark.parametrize(
    "fields",
    [
        ["Bearer abc", "Bearer abc"],
        ["Bearer abc", "Basic YTpi"],
        ["Basic YTpi", "Bearer abc"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer    "],
        ["Bearer abc def"],
        ["Bearer abc, Bearer def"],
        ["Bearer abc\tdef"],
    ],
    ids=str,
)
def test_malformed_credentials(fields: list[str]) -> None:
    """Two fields, no token or more than one is a bad request (RFC 6750 section 3.1, RFC 9449 section 7.2)."""
    with pytest.raises(MalformedCredentials):
        read_credentials(headers(*fields), jwt_scheme=True)


def test_a_token_elsewhere_is_not_looked_at() -> None:
    """Only `Authorization` carries credentials (RFC 9700 section 4.3.2)."""
    elsewhere = CIMultiDictProxy(CIMultiDict({"X-Authorization": "Bearer a", "Cookie": "access_token=a"}))
    with pytest.raises(MissingCredentials):
        read_credentials(elsewhere)
