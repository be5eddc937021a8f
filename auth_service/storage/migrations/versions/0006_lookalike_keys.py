"""The look-alike keys computed anew: letters of one case, and an I behind a small letter, are seen as they are drawn.

Two accounts that were told apart and now look alike both go on: the one that has the key, or comes to it first, keeps
it; the other is given a key that no name can have. Either way no third account comes to look like them. An account that
the previous release makes after this has the key of that release, until the keys are computed anew the next time.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from auth_service.identity.usernames import lookalike_key

revision = "0006"
down_revision = "0005"

_accounts = sa.table("accounts", *(sa.column(name) for name in ("sub", "username", "lookalike_key", "created_at")))
_set_key = (
    sa.update(_accounts).where(_accounts.c.sub == sa.bindparam("whose")).values(lookalike_key=sa.bindparam("key"))
)
PAGE_ROWS = 1_000
"""How many rows are in memory at a time."""


def upgrade() -> None:
    connection = op.get_bind()
    rows = sa.select(_accounts.c.sub, _accounts.c.username, _accounts.c.lookalike_key)
    in_order = rows.order_by(_accounts.c.created_at, _accounts.c.sub)
    changed = []
    with connection.execute(in_order, execution_options={"yield_per": PAGE_ROWS}) as found:
        for sub, username, key in found:
            if lookalike_key(username) != key:
                changed.append((sub, lookalike_key(username)))
    # First a key of its own for each, so that none stands in the way of another. No name has a space in it.
    for sub, key in changed:
        connection.execute(_set_key, {"whose": sub, "key": f"{key} {sub}"})
    for sub, key in changed:
        try:
            with connection.begin_nested():
                connection.execute(_set_key, {"whose": sub, "key": key})
        except sa.exc.IntegrityError:
            continue  # another account has it, and this one its own
