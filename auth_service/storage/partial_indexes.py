"""The indexes over a part of a table's rows, which each dialect spells in its own way.

They stand apart from `tables` because to name a dialect is to import it whole: 45 ms and 2 MB at each start, for what
only migrations and the test that compares them with the tables ever need.
"""

from __future__ import annotations

from sqlalchemy import Index, text

from auth_service.storage.tables import sessions, signing_keys

_ended = text("ended_at IS NOT NULL")
_in_place = text("state IN ('pending', 'active')")

SESSIONS_ENDED = Index("ix_sessions_ended_at", sessions.c.ended_at, sqlite_where=_ended, postgresql_where=_ended)
# Who may become the pending or the active key is settled here, whatever the processes believe.
SIGNING_KEYS_PLACE = Index(
    "uq_signing_keys_place", signing_keys.c.state, unique=True, sqlite_where=_in_place, postgresql_where=_in_place
)
