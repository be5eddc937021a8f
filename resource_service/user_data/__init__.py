"""The protected resource: the caller's own items, each a name and a JSON value.

Owns what an item is, its conditional requests, its limits, its tables and its URLs. Does not know how a caller proves
who it is: `resource_service.protection` hands over a verified token, and (iss, sub) of that token is the owner.
Every query is bound to an owner, so another caller's item is one that does not exist.
"""
