"""The revocation feed as it is given out: signed documents, the same from every replica.

Owns how the stored feed becomes documents and how many readers wait for the next one at little cost. What is revoked
is decided elsewhere and stored with it; HTTP is `endpoints.revocations`; the document itself is in `shared`.
"""
