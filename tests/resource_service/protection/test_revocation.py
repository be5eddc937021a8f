"""What was revoked, held in memory: nothing is forgotten too soon, and nothing is kept for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resource_service.protection.revocation import BUCKET_SECONDS, EXPIRY_MARGIN_SECONDS, RevokedSet
from shared.access_token import AccessTokenDecoder, VerifiedAccessToken
from shared.revocation_feed import Revocation, RevokedKind, group, identifier_hash
from tests.protocol.minting import ABSENT, NOW, RULES, mint, signing_key

IDENTIFIERS = {
    RevokedKind.TOKEN: "a-token",
    RevokedKind.SESSION: "a-session",
    RevokedKind.ACCOUNT: "0190f6c2-7abc-7def-8123-456789abcdef",
    RevokedKind.CLIENT: "first-party",
    RevokedKind.KEY: signing_key().kid,
}
SOON = int(NOW) + 1_000


def verified(**claims: object) -> VerifiedAccessToken:
    return AccessTokenDecoder(RULES).decode(mint(claims=claims), {signing_key().kid: signing_key().public_jwk}, NOW)


def entry(kind: RevokedKind, identifier: str, before: int | None = None, expires_at: int = SOON) -> Revocation:
    return Revocation(kind, identifier_hash(identifier), before, expires_at)


@pytest.mark.parametrize("kind", RevokedKind)
def test_each_kind_covers_its_tokens_and_no_others(kind: RevokedKind) -> None:
    """By the claim, or the header parameter, of that name."""
    token, other = verified(), RevokedSet()
    other.add(
        group([entry(kind, "another"), *(entry(each, IDENTIFIERS[kind]) for each in RevokedKind if each is not kind)])
    )
    assert not other.covers(token)
    revoked = RevokedSet()
    assert not revoked.covers(token)
    revoked.add(group([entry(kind, IDENTIFIERS[kind])]))
    assert revoked.covers(token)
    assert revoked.covers(verified())


@pytest.mark.parametrize("kind", RevokedKind)
def test_issued_before_means_at_or_before(kind: RevokedKind) -> None:
    """The token's own `iat` counts, whatever clock is read."""
    issued_at = int(NOW) - 10
    for before, covered in ((issued_at - 1, False), (issued_at, True), (issued_at + 1, True)):
        revoked = RevokedSet()
        revoked.add(group([entry(kind, IDENTIFIERS[kind], before)]))
        assert revoked.covers(verified()) is covered


def test_a_token_without_a_session_is_no_session_of_that_name() -> None:
    """An absent `sid` matches nothing, not even an entry for an empty one."""
    revoked = RevokedSet()
    revoked.add(group([entry(RevokedKind.SESSION, ""), entry(RevokedKind.SESSION, "None")]))
    assert not revoked.covers(verified(sid=ABSENT))


def test_entries_go_once_their_tokens_have_expired() -> None:
    """Not before, though our clock is a minute ahead; and not long after."""
    revoked = RevokedSet()
    revoked.add(group([entry(RevokedKind.SESSION, "a-session")]))
    revoked.drop_expired(SOON + EXPIRY_MARGIN_SECONDS)
    assert revoked.covers(verified())
    revoked.drop_expired(SOON + EXPIRY_MARGIN_SECONDS + 2 * BUCKET_SECONDS)
    assert not revoked.covers(verified())
    assert (len(revoked), revoked._due) == (0, {})


def test_of_two_entries_the_wider_and_the_longer_hold() -> None:
    """In whatever order they come; a snapshot repeats what is known."""
    narrow = entry(RevokedKind.ACCOUNT, IDENTIFIERS[RevokedKind.ACCOUNT], 5, SOON + 600)
    wide = entry(RevokedKind.ACCOUNT, IDENTIFIERS[RevokedKind.ACCOUNT], None, SOON)
    for both in ([narrow, wide], [wide, narrow], [wide, narrow, wide]):
        revoked = RevokedSet()
        revoked.add(group(both))
        assert len(revoked) == 1
        revoked.drop_expired(SOON + EXPIRY_MARGIN_SECONDS + 2 * BUCKET_SECONDS)
        assert revoked.covers(verified())
        revoked.drop_expired(SOON + 600 + EXPIRY_MARGIN_SECONDS + 2 * BUCKET_SECONDS)
        assert len(revoked) == 0


_STEPS: st.SearchStrategy[Callable[..., object]] = st.one_of(
    st.tuples(st.sampled_from(list(IDENTIFIERS)), st.none() | st.integers(0, 40), st.integers(100, 300)).map(
        lambda drawn: lambda revoked, model, now: _add(revoked, model, now, *drawn)
    ),
    st.just(lambda revoked, _model, now: revoked.drop_expired(now)),
)


def _add(
    revoked: RevokedSet, model: list[Revocation], now: int, kind: RevokedKind, before: int | None, life: int
) -> None:
    absolute = None if before is None else int(NOW) - 30 + before
    added = entry(kind, IDENTIFIERS[kind], absolute, now + life)
    revoked.add(group([added]))
    model.append(added)


@given(st.lists(st.tuples(st.integers(0, 60), _STEPS), max_size=40))
def test_whatever_comes_in_no_entry_is_lost_before_its_time(steps: list[tuple[int, Callable[..., object]]]) -> None:
    """Against a list of all that ever was: what it says is revoked is revoked; and nothing outlives its time."""
    revoked, model, now, token = RevokedSet(), list[Revocation](), int(NOW), verified()
    for seconds, step in steps:
        now += seconds
        step(revoked, model, now)
        holds = [each for each in model if each.expires_at >= now]
        if any(each.before is None or token.issued_at <= each.before for each in holds):
            assert revoked.covers(token)
    revoked.drop_expired(now + 1_000)
    assert len(revoked) == 0
