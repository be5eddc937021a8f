"""The one layer between the network and the handlers: token in, verified token or refusal out.

Every route is closed unless it, or its path in the configuration, says that it is public.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from resource_service.protection.access_rule import PUBLIC, AccessRule, Public, rule_of
from resource_service.protection.configuration import ProtectedResource
from resource_service.protection.cors import CrossOrigin
from resource_service.protection.verifier import Verifier
from shared.access_token import VerifiedAccessToken
from shared.bearer import ChallengeError, ProtectionSpace, read_credentials
from shared.clock import Clock
from shared.errors import Unavailable
from shared.web import error_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACCESS_TOKEN: Final = web.RequestKey("access_token", VerifiedAccessToken)
"""Where a handler finds the token of its caller: `request[ACCESS_TOKEN]`."""


class RouteRules:
    """Which rule holds for which route; found out once for each route."""

    def __init__(self, default_rule: AccessRule, public_paths: frozenset[str]) -> None:
        self._default = default_rule
        self._public_paths = public_paths
        self._rules: dict[web.AbstractRoute, AccessRule | Public] = {}

    def rule_for(self, request: web.Request) -> AccessRule | Public:
        match = request.match_info
        rule = self._rules.get(match.route)
        if rule is None:
            if match.http_exception is not None:
                return PUBLIC  # 404 and 405 are aiohttp's own, made anew for each request
            rule = self._rules[match.route] = self._find(match.route)
        return rule

    def _find(self, route: web.AbstractRoute) -> AccessRule | Public:
        # A class-based view is closed by the mark on the class; a pattern is compared whole, never a part of the path.
        marked = rule_of(route.handler)
        if marked is None and route.resource is not None and route.resource.canonical in self._public_paths:
            return PUBLIC
        return self._default if marked is None else marked


def protection_middleware(
    resource: ProtectedResource, verifier: Verifier, cross_origin: CrossOrigin, clock: Clock
) -> Any:
    """The middleware of one protected resource."""
    space = ProtectionSpace(resource.realm, resource.metadata_url, resource.scopes)
    rules = RouteRules(resource.default_rule, resource.public_paths)
    jwt_scheme = resource.jwt_scheme

    def refuse(error: ChallengeError, rule: AccessRule) -> web.Response:
        return error_response(error.within(replace(space, scope=rule.needed_scope() or space.scope)))

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        preflight = cross_origin.answer_preflight(request)
        if preflight is not None:
            return preflight
        rule = rules.rule_for(request)
        if isinstance(rule, Public):
            return await handler(request)
        try:
            unverified_token = read_credentials(request.headers, jwt_scheme=jwt_scheme)
            token = verifier.verify_at_once(unverified_token)
            if token is None:
                token = await verifier.verify_after_refresh(unverified_token)
            rule.check(token, clock.now())
        except ChallengeError as error:
            return refuse(error, rule)
        except Unavailable as error:
            return error_response(error)
        request[ACCESS_TOKEN] = token
        try:
            return await handler(request)
        except ChallengeError as error:
            return refuse(error, rule)

    return protect
