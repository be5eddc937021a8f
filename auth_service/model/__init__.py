"""Frozen entities with their legal moves, and the port each is kept behind.

Owns what an account, a session, a signing key and a security event are, and which moves they allow. Does no input
or output: `storage` keeps the entities, `identity` and `keys` decide when they move. Times are seconds since the
epoch, as `shared.clock` gives them.
"""
