"""The one layer between the network and the handlers: token in, verified token or refusal out.

Every route is closed unless it, or its path in the configuration, says that it is public.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from aiohttp import hdrs, web

from resource_service.protection.access_rule import PUBLIC, AccessRule, Public, rule_of
from resource_service.protection.configuration import ProtectedResource
from resource_service.protection.followed_revocations import FollowedRevocations
from resource_service.protection.revocation import StatusListUnknown
from resource_service.protection.verifier import Verifier
from shared.access_token import VerifiedAccessToken
from shared.bearer import ChallengeError, ProtectionSpace, read_credentials
from shared.clock import Clock
from shared.cors import CrossOrigin
from shared.errors import Unavailable
from shared.web import error_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACCESS_TOKEN: Final = web.RequestKey("access_token", VerifiedAccessToken)
"""Where a handler finds the token of its caller: `request[ACCESS_TOKEN]`."""


class RouteRules:
    """Which rule holds for which route; found out once for each route, and for each method of a class-based view."""

    def __init__(self, default_rule: AccessRule, public_paths: frozenset[str]) -> None:
        self._default = default_rule
        self._public_paths = public_paths
        self._rules: dict[web.AbstractRoute | tuple[web.AbstractRoute, str], AccessRule | Public] = {}

    def rule_for(self, request: web.Request) -> AccessRule | Public:
        match = request.match_info
        rule = self._rules.get(match.route)
        if rule is not None:
            return rule
        if match.http_exception is not None:
            return PUBLIC  # 404 and 405 are aiohttp's own, made anew for each request
        if isinstance(match.route.handler, type):
            return self._rule_for_view(match.route, request.method)
        rule = self._rules[match.route] = self._find(match.route, None)
        return rule

    def _rule_for_view(self, route: web.AbstractRoute, method: str) -> AccessRule | Public:
        # Under the route alone nothing is remembered: that would be the rule of all its methods.
        rule = self._rules.get((route, method))
        if rule is None:
            taken = getattr(route.handler, method.lower(), None) if method in hdrs.METH_ALL else None
            rule = self._find(route, taken)
            if taken is not None:
                self._rules[route, method] = rule
        return rule

    def _find(self, route: web.AbstractRoute, method: object) -> AccessRule | Public:
        # The mark on the method of a view comes before that on its class.
        marked = rule_of(method) or rule_of(route.handler)
        # A pattern is compared whole, never a part of the path.
        if marked is None and route.resource is not None and route.resource.canonical in self._public_paths:
            return PUBLIC
        return self._default if marked is None else marked


class Gate:
    """Admits a request under a rule: what the middleware does for every route, and a handler may do by itself."""

    def __init__(
        self, resource: ProtectedResource, verifier: Verifier, revocations: FollowedRevocations, clock: Clock
    ) -> None:
        self._space = ProtectionSpace(resource.realm, resource.metadata_url, resource.scopes)
        self._spaces: dict[str, ProtectionSpace] = {}
        self._verifier = verifier
        self._revocations = revocations
        self._clock = clock
        self._jwt_scheme = resource.jwt_scheme

    def admit_at_once(self, request: web.Request, rule: AccessRule) -> VerifiedAccessToken | None:
        """The verified token of a request that may go on; None when something must be waited for first."""
        try:
            token = self._verifier.verify_at_once(read_credentials(request.headers, jwt_scheme=self._jwt_scheme))
            if token is not None:
                self._check(token, rule)
        except StatusListUnknown:
            return None
        except ChallengeError as error:
            raise self.own(error, rule) from None
        return token

    async def admit(self, request: web.Request, rule: AccessRule) -> VerifiedAccessToken:
        """The verified token of a request that may go on; a ChallengeError or Unavailable otherwise."""
        return self.admit_at_once(request, rule) or await self.admit_after_waiting(request, rule)

    async def admit_after_waiting(self, request: web.Request, rule: AccessRule) -> VerifiedAccessToken:
        """What `admit_at_once` left open: the issuer may be asked for the token's key or its status list."""
        try:
            unverified_token = read_credentials(request.headers, jwt_scheme=self._jwt_scheme)
            try:
                token = await self._verified(unverified_token)
            except StatusListUnknown as unknown:
                await self._revocations.await_list(unknown)
                token = await self._verified(unverified_token)
            self._check(token, rule)
        except ChallengeError as error:
            raise self.own(error, rule) from None
        return token

    async def _verified(self, unverified_token: str) -> VerifiedAccessToken:
        token = self._verifier.verify_at_once(unverified_token)
        return await self._verifier.verify_after_refresh(unverified_token) if token is None else token

    def _check(self, token: VerifiedAccessToken, rule: AccessRule) -> None:
        if rule.max_revocation_age is not None:
            self._revocations.require_fresh(token, rule.max_revocation_age)
        rule.check(token, self._clock)

    def own(self, error: ChallengeError, rule: AccessRule) -> ChallengeError:
        """The refusal as this resource makes it, with the scope that the rule asks for."""
        needed = str(rule.needed_scope)
        space = self._spaces.get(needed)
        if space is None:
            space = self._spaces[needed] = replace(self._space, scope=rule.needed_scope or self._space.scope)
        return error.within(space)


def protection_middleware(resource: ProtectedResource, gate: Gate, cross_origin: CrossOrigin) -> Any:
    """The middleware of one protected resource."""
    rules = RouteRules(resource.default_rule, resource.public_paths)

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == hdrs.METH_OPTIONS:
            preflight = cross_origin.answer_preflight(request)
            if preflight is not None:
                return preflight
        rule = rules.rule_for(request)
        if isinstance(rule, Public):
            return await handler(request)
        try:
            token = gate.admit_at_once(request, rule)
            if token is None:
                token = await gate.admit_after_waiting(request, rule)
            request[ACCESS_TOKEN] = token
        except (ChallengeError, Unavailable) as error:
            return error_response(error)
        try:
            return await handler(request)
        except ChallengeError as error:
            return error_response(gate.own(error, rule))

    return protect
