"""What is revoked as it is given out: the feed's signed documents and the status lists, the same from every replica.

Owns how the stored feed becomes either, and how many readers wait for the next document at little cost. What is
revoked is decided elsewhere and stored with it; HTTP is in `endpoints`; the form of documents and lists is in `shared`.
"""

VOUCH_SECONDS = 5.0
"""For how long what was read of the database is given out when it cannot be read again."""
