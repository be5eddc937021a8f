"""The scope of an authorization (RFC 6749 section 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

MAX_SCOPE_LENGTH: Final = 4_096
"""The longest scope text that is read, characters; ours."""
CACHED_SCOPE_LENGTH: Final = 256
"""Texts up to this length are parsed once: real ones repeat, and their number is small."""

_TOKEN = r"[\x21\x23-\x5B\x5D-\x7E]+"
_scope_token = re.compile(_TOKEN).fullmatch
_scope_text = re.compile(rf"{_TOKEN}(?: {_TOKEN})*").fullmatch


class Scope:
    """A set of scope tokens that remembers the order they were written in.

    Immutable. Equality, `<=`, `in`, `&`, `|` and `-` are those of the set; iteration and `str` keep the order.
    Tokens are case-sensitive and compared exactly.
    """

    __slots__ = ("_ordered", "tokens")
    _ordered: tuple[str, ...]
    tokens: frozenset[str]

    def __init__(self, *tokens: str) -> None:
        for token in tokens:
            if not _scope_token(token):
                raise ValueError("not a scope token")
        self._keep(tokens)

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read one or more tokens separated by single spaces; raise ValueError for anything else."""
        if len(text) <= CACHED_SCOPE_LENGTH:
            return _parse_cached(text)
        return _parse(text)

    def _keep(self, tokens: Iterable[str]) -> None:
        object.__setattr__(self, "_ordered", tuple(dict.fromkeys(tokens)))
        object.__setattr__(self, "tokens", frozenset(self._ordered))

    @classmethod
    def _of(cls, checked_tokens: Iterable[str]) -> Scope:
        scope = object.__new__(cls)
        scope._keep(checked_tokens)
        return scope

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Scope is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Scope is immutable")

    def __str__(self) -> str:
        return " ".join(self._ordered)

    def __repr__(self) -> str:
        return f"Scope.parse({str(self)!r})" if self._ordered else "Scope()"

    def __iter__(self) -> Iterator[str]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)

    def __contains__(self, token: object) -> bool:
        return token in self.tokens

    def __eq__(self, other: object) -> bool:
        return self.tokens == other.tokens if isinstance(other, Scope) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __le__(self, other: Scope) -> bool:
        return self.tokens <= other.tokens

    def __and__(self, other: Scope) -> Scope:
        return Scope._of(token for token in self._ordered if token in other.tokens)

    def __or__(self, other: Scope) -> Scope:
        return Scope._of((*self._ordered, *other._ordered))

    def __sub__(self, other: Scope) -> Scope:
        return Scope._of(token for token in self._ordered if token not in other.tokens)

    def isdisjoint(self, other: Scope) -> bool:
        """Whether the two share no token."""
        return self.tokens.isdisjoint(other.tokens)


def _parse(text: str) -> Scope:
    if len(text) > MAX_SCOPE_LENGTH or not _scope_text(text):
        raise ValueError("not a scope")
    return Scope._of(text.split(" "))


_parse_cached = lru_cache(maxsize=512)(_parse)
