"""Protects any aiohttp application with OAuth 2 access tokens; the reusable half of the resource service.

Owns the fetched key sets, what issuers have revoked, the verifier with its cache, the middleware with the rule beside
each route, challenges, metadata (RFC 9728) and CORS. The token contract itself is in `shared`. Knows nothing of what it
protects: no user data, no settings of this service, no database.

    protection = Protection(ProtectedResource("https://api.example", (TrustedIssuer("https://login.example"),)))
    protection.setup(app)
"""

from resource_service.protection.access_rule import AccessRule, protect, public
from resource_service.protection.configuration import ProtectedResource, TrustedIssuer
from resource_service.protection.middleware import ACCESS_TOKEN, Gate
from resource_service.protection.protection import Protection
from resource_service.protection.remote_key_set import KeysUnavailable
from resource_service.protection.revocation import RevocationCheck, RevocationsUnavailable
from shared.access_token import VerifiedAccessToken

__all__ = [
    "ACCESS_TOKEN",
    "AccessRule",
    "Gate",
    "KeysUnavailable",
    "ProtectedResource",
    "Protection",
    "RevocationCheck",
    "RevocationsUnavailable",
    "TrustedIssuer",
    "VerifiedAccessToken",
    "protect",
    "public",
]
