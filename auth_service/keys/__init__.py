"""The private keys: how they are made, sealed at rest, published, used and replaced.

Owns the master key, the key ring (what this process signs with and publishes now), the rotation schedule and the
operator's commands. The rest of the house sees `KeyRing.signing_key()`, which signs, and `KeyRing.key_set()`,
the public keys; nobody else ever holds a private key. Does not own the tokens that are signed (`tokens`), the
key set's endpoint (`endpoints.jwks`), or the table the keys lie in (`storage`).

The promise: no token is signed with a key that a resource server following the cache headers could not have, and
no key leaves the key set before the last token it signed has expired. `rotation` holds the arithmetic.
"""
