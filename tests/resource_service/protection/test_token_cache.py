"""The verified-token cache: whole tokens, one generation, bounded."""

from __future__ import annotations

from functools import cache

from resource_service.protection.token_cache import VerifiedTokenCache
from shared.access_token import AccessTokenDecoder, VerifiedAccessToken
from tests.protocol.minting import NOW, RULES, mint, signing_key


@cache
def verified() -> VerifiedAccessToken:
    return AccessTokenDecoder(RULES).decode(mint(), {signing_key().kid: signing_key().public_jwk}, NOW)


def test_what_is_remembered_is_recalled() -> None:
    """A token is found by its whole text and by nothing that resembles it."""
    tokens = VerifiedTokenCache(10, 100_000)
    text = mint()
    tokens.remember(text, verified(), 1)
    assert tokens.recall(text, 1) is verified()
    for other in (text + "=", text[:-1], text.swapcase(), " " + text, text.rpartition(".")[0]):
        assert tokens.recall(other, 1) is None
    figures = tokens.figures()
    assert (figures.entries, figures.hits, figures.misses) == (1, 1, 5)


def test_another_generation_finds_nothing() -> None:
    """A changed key set empties the cache, whichever call notices first."""
    tokens = VerifiedTokenCache(10, 100_000)
    tokens.remember("a", verified(), 1)
    assert tokens.recall("a", 2) is None
    assert tokens.recall("a", 1) is None
    tokens.remember("b", verified(), 2)
    tokens.remember("c", verified(), 3)
    assert tokens.recall("b", 3) is None
    assert tokens.recall("c", 3) is verified()
    assert tokens.figures().entries == 1


def test_the_least_recently_used_goes_first() -> None:
    """The number of entries is bounded; what was used lately stays."""
    tokens = VerifiedTokenCache(3, 100_000)
    for text in "abc":
        tokens.remember(text, verified(), 1)
    assert tokens.recall("a", 1) is not None
    tokens.remember("d", verified(), 1)
    assert tokens.recall("b", 1) is None
    assert all(tokens.recall(text, 1) is not None for text in "acd")
    assert tokens.figures().evictions == 1


def test_bytes_are_bounded_too() -> None:
    """Long tokens are fewer: the estimate never passes its bound, and falls to nothing when all are gone."""
    tokens = VerifiedTokenCache(1_000, 50_000)
    texts = [f"{number:08}" * 500 for number in range(40)]
    for text in texts:
        tokens.remember(text, verified(), 1)
        assert tokens.figures().estimated_bytes <= 50_000
    assert 0 < tokens.figures().entries < 10
    for text in texts:
        tokens.forget(text)
        tokens.forget(text)
    assert (tokens.figures().entries, tokens.figures().estimated_bytes) == (0, 0)


def test_remembering_twice_counts_once() -> None:
    """The same token verified by two requests is one entry."""
    tokens = VerifiedTokenCache(10, 100_000)
    tokens.remember("a", verified(), 1)
    once = tokens.figures().estimated_bytes
    tokens.remember("a", verified(), 1)
    assert tokens.figures().estimated_bytes == once


def test_a_cache_of_nothing_keeps_nothing() -> None:
    """With no room the cache is switched off."""
    tokens = VerifiedTokenCache(0, 100_000)
    tokens.remember("a", verified(), 1)
    assert tokens.recall("a", 1) is None
