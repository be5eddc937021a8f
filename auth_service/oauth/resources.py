"""The resource servers that tokens may be issued for, and the scopes of each (RFC 8707)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from auth_service.oauth.errors import InvalidScope
from shared.scope import Scope

PROFILE_SCOPES = Scope.parse("profile email")
"""Scopes that every resource's tokens may carry: they add claims about the user and open nothing by themselves."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource server: its identifier, which becomes the token's `aud`, and the scopes it offers."""

    identifier: str
    scopes: Scope

    def grantable(self, wanted: Scope) -> Scope:
        """The part of `wanted` that can be granted here."""
        return wanted & (self.scopes | PROFILE_SCOPES)


class Resources:
    """Every resource server known here; the first is the default."""

    def __init__(self, offered: Mapping[str, Sequence[str]]) -> None:
        self._by_identifier = {
            identifier: Resource(identifier, Scope(*scopes)) for identifier, scopes in offered.items()
        }
        self.default = next(iter(self._by_identifier.values()))

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_identifier.values())

    def grant(self, asked: str | None) -> tuple[Resource, Scope]:
        """The resource that a scope is for, and the part of the scope that can be granted there.

        Without a scope: the default resource and all that it offers. Otherwise the first resource that offers any of
        the scope; a token is for one resource (RFC 9068 section 3), so what belongs to others is left out. InvalidScope
        for a malformed scope and for one of which nothing can be granted (RFC 6749 section 3.3).
        """
        if asked is None:
            return self.default, self.default.scopes
        try:
            wanted = Scope.parse(asked)
        except ValueError:
            raise InvalidScope("The scope is malformed.") from None
        resource = next((one for one in self if not one.scopes.isdisjoint(wanted)), self.default)
        granted = resource.grantable(wanted)
        if not granted:
            raise InvalidScope("Nothing of this scope can be granted.")
        return resource, granted

    def scopes_supported(self) -> list[str]:
        """Every scope that can be granted, in a stable order."""
        tokens = {token for resource in self for token in resource.scopes} | set(PROFILE_SCOPES)
        return sorted(tokens)
