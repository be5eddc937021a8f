"""What a route asks of a token, said beside the handler (RFC 6750 section 3.1, RFC 9470)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from shared.access_token import VerifiedAccessToken
from shared.bearer import InsufficientScope, InsufficientUserAuthentication
from shared.clock import Clock
from shared.scope import Scope

log = structlog.get_logger(__name__)

H = TypeVar("H", bound=Callable[..., Any])

MIN_REVOCATION_AGE_SECONDS: Final = 15
"""While nothing happens a feed is heard of every 10 s."""
RULE_ATTRIBUTE: Final = "__access_rule__"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """All of `scope`, one of `any_of`, one of `acr_values`, a sign-in at most `max_age` seconds ago.

    With `max_revocation_age` a request is answered 503 when nothing was heard of its issuer's revocations for that many
    seconds (at least 15), whatever the application does otherwise.

    What is empty or None asks nothing. A hierarchy of scopes is written with `any_of`, the one that a client
    should ask for first.
    """

    scope: Scope = field(default_factory=Scope)
    any_of: Scope = field(default_factory=Scope)
    acr_values: tuple[str, ...] = ()
    max_age: int | None = None
    max_revocation_age: int | None = None
    needed_scope: Scope = field(init=False, compare=False)
    """All that a client has to ask for to do this."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "needed_scope", self.scope | Scope(*list(self.any_of)[:1]))
        if self.max_revocation_age is not None and self.max_revocation_age < MIN_REVOCATION_AGE_SECONDS:
            raise ValueError(f"max_revocation_age must be at least {MIN_REVOCATION_AGE_SECONDS}")

    def check(self, token: VerifiedAccessToken, clock: Clock) -> None:
        """Raise InsufficientScope or InsufficientUserAuthentication unless `token` reaches this far now."""
        held, any_of = token.scope.tokens, self.any_of.tokens
        if not self.scope.tokens <= held or (any_of and any_of.isdisjoint(held)):
            log.info("scope_insufficient", needed=str(self.needed_scope), **token.identity())
            raise InsufficientScope(self.needed_scope)
        if self.acr_values and token.acr not in self.acr_values:
            raise self._step_up()
        if self.max_age is not None and (token.auth_time is None or clock.now() - token.auth_time > self.max_age):
            raise self._step_up()

    def _step_up(self) -> InsufficientUserAuthentication:
        return InsufficientUserAuthentication(acr_values=self.acr_values, max_age=self.max_age)


@dataclass(frozen=True, slots=True)
class Public:
    """The mark of a route that needs no token."""


PUBLIC: Final = Public()


def protect(
    *scope: str,
    any_of: Iterable[str] = (),
    acr: Iterable[str] = (),
    max_age: int | None = None,
    max_revocation_age: int | None = None,
) -> Callable[[H], H]:
    """Mark a handler with what it needs; `@protect("data:read")` is the usual form."""
    rule = AccessRule(Scope(*scope), Scope(*any_of), tuple(acr), max_age, max_revocation_age)

    def mark(handler: H) -> H:
        setattr(handler, RULE_ATTRIBUTE, rule)
        return handler

    return mark


def public(handler: H) -> H:
    """Mark a handler that anybody may call. Without a mark a route is closed."""
    setattr(handler, RULE_ATTRIBUTE, PUBLIC)
    return handler


def rule_of(handler: object) -> AccessRule | Public | None:
    """The mark of a handler, None without one; a `functools.partial` has that of its function.

    A class keeps what a base class of it asks for, but is not public because that is.
    """
    rule = getattr(handler, RULE_ATTRIBUTE, None)
    if rule is None and isinstance(handler, partial):
        return rule_of(handler.func)
    if isinstance(handler, type) and isinstance(rule, Public) and RULE_ATTRIBUTE not in vars(handler):
        return None
    return rule if isinstance(rule, AccessRule | Public) else None
