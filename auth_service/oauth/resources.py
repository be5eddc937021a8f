"""The resource servers that tokens may be issued for, and the scopes of each (RFC 8707)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from auth_service.oauth.errors import InvalidScope, InvalidTarget
from shared.scope import Scope

PROFILE_SCOPES = Scope.parse("profile email")
"""Scopes that every resource's tokens may carry: they add claims about the user and open nothing by themselves."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource server: its identifier, which becomes the token's `aud`, and the scopes it offers."""

    identifier: str
    scopes: Scope

    def grant(self, asked: str | None) -> Scope:
        """The part of the scope asked for that can be granted here; all of the resource's own when none was asked for.

        Raises InvalidScope for a malformed scope and for one of which nothing is left (RFC 6749 section 3.3).
        """
        if asked is None:
            return self.scopes
        try:
            wanted = Scope.parse(asked)
        except ValueError:
            raise InvalidScope("The scope is malformed.") from None
        granted = wanted & (self.scopes | PROFILE_SCOPES)
        if not granted:
            raise InvalidScope("None of this scope can be granted for this resource.")
        return granted


class Resources:
    """Every resource server known here; the first is the default."""

    def __init__(self, offered: Mapping[str, Sequence[str]]) -> None:
        self._by_identifier = {
            identifier: Resource(identifier, Scope(*scopes)) for identifier, scopes in offered.items()
        }
        self.default = next(iter(self._by_identifier.values()))

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_identifier.values())

    def find(self, identifier: str | None) -> Resource:
        """The resource with this identifier, the default one for None; InvalidTarget when there is none such."""
        if identifier is None:
            return self.default
        resource = self._by_identifier.get(identifier)
        if resource is None:
            raise InvalidTarget("There is no such resource.")
        return resource

    def scopes_supported(self) -> list[str]:
        """Every scope that can be granted, in a stable order."""
        tokens = {token for resource in self for token in resource.scopes} | set(PROFILE_SCOPES)
        return sorted(tokens)
