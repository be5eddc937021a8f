"""Authorization in, signed token set out.

Owns how claims are built and how a token set is put together; no grant and no endpoint builds claims. Who the user
is, is settled before; the key that signs belongs to `keys`.
"""
