"""`GET /verify`: forward authentication for a proxy that asks before it lets a request through.

nginx `auth_request`, Traefik ForwardAuth and Caddy `forward_auth` send the client's `Authorization` here. 204 lets the
request through, with the identity in `X-Auth-*`; 401 and 403 refuse it, with the challenge the client needs. The proxy
must take these headers from this answer and drop those that a client sent: docs/forward-auth.md has whole
configurations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from resource_service.protection import AccessRule, Gate, VerifiedAccessToken, public
from shared.bearer import InsufficientScope, InvalidToken, MalformedCredentials, MissingCredentials
from shared.errors import Unavailable
from shared.openapi import Answer, Operation, describe
from shared.scope import Scope
from shared.web import NO_STORE, error_response

PATH = "/verify"
UNAUTHORIZED = 401
REMEMBERED_IDENTITIES = 1_024
"""Tokens whose fields are kept; each takes about 2 kB with its token."""
HEADER_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "") + " "
"""Printable ASCII but the percent sign: what stands in a field value as it is."""
OUTER_BLANKS = re.compile(r"^ +| +$")
"""These a recipient takes away (RFC 9110 section 5.5), so they are encoded, or two subjects would be one."""
MAX_PROFILE_CHARACTERS = 1_024
"""As it is sent: a proxy has room for some kilobytes in all, and nothing but an issuer's fancy bounds these."""
IDENTITY = {
    "X-Auth-Subject": "Who the user is (`sub`); unique together with the issuer.",
    "X-Auth-Issuer": "Who says so (`iss`).",
    "X-Auth-Client": "The client that acts for the user.",
    "X-Auth-Scope": "What the token allows.",
    "X-Auth-Session": "The session (`sid`), where the token names one.",
    "X-Auth-Username": "The user name, with the scope `profile`; none beyond 1,024 characters.",
    "X-Auth-Email": "The e-mail address, with the scope `email`, when it is verified; none beyond 1,024 characters.",
}


class ForwardAuth:
    """Answers for every mount: `/verify` takes any valid token, `/verify/NAME` one with the scopes set for NAME."""

    def __init__(self, gate: Gate, mounts: Mapping[str, Scope]) -> None:
        self._gate = gate
        self._rules = {PATH: AccessRule()} | {f"{PATH}/{name}": AccessRule(scope) for name, scope in mounts.items()}

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(path, self.get) for path in self._rules]

    @public  # the gate is asked below: a proxy understands fewer refusals than a client
    @describe(
        Operation(
            summary="Whether the request whose Authorization this is may go on, and who makes it.",
            answers={204: Answer("It may.", headers=IDENTITY)},
            errors=(MissingCredentials, InvalidToken, InsufficientScope, Unavailable),
            scopes=(),
        )
    )
    async def get(self, request: web.Request) -> web.Response:
        try:
            token = await self._gate.admit(request, self._rules[request.path])
        except MalformedCredentials as error:
            # nginx takes any status but 2xx, 401 and 403 for a failure of its own and answers 500.
            refusal = error_response(error)
            refusal.set_status(UNAUTHORIZED)
            return refusal
        return web.Response(status=204, headers=_identity(token))


@lru_cache(maxsize=REMEMBERED_IDENTITIES)
def _identity(token: VerifiedAccessToken) -> CIMultiDict[str]:
    """The identity as field values; what is not ASCII is percent-encoded UTF-8, and so are the percent sign and
    blanks at either end.

    A proxy asks for each picture of a page, so what a verified token says is put into words once. (A response copies
    the fields it is made with.)
    """
    profile, scopes = token.profile, token.scope.tokens
    username = profile.get("preferred_username") if "profile" in scopes else None
    email = profile.get("email") if "email" in scopes and profile.get("email_verified") is True else None
    values = {
        "X-Auth-Subject": token.subject,
        "X-Auth-Issuer": token.issuer,
        "X-Auth-Client": token.client_id,
        "X-Auth-Scope": str(token.scope),
        "X-Auth-Session": token.session_id,
    }
    fields = CIMultiDict(NO_STORE)
    fields.update({name: _field_value(str(value)) for name, value in values.items() if value})
    for name, value in (("X-Auth-Username", username), ("X-Auth-Email", email)):
        if value and len(encoded := _field_value(str(value))) <= MAX_PROFILE_CHARACTERS:
            fields[name] = encoded
    return fields


def _field_value(text: str) -> str:
    return OUTER_BLANKS.sub(lambda blanks: "%20" * len(blanks[0]), quote(text, safe=HEADER_SAFE))
