"""Who made each change, why, and which revision it made: in the feed and in intents.

The columns may be NULL, and are in all that was written before: adding them writes no row, and
an earlier version still writes to the tables. The version before this one does not start on them
by itself, since its Alembic refuses a revision that it does not know: docs/operations.md says how
it is put back.
"""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# An intent has a request_id already, that of the upload's header.
_STATEMENTS = (
    """
    ALTER TABLE public.{p}feed
        ADD COLUMN IF NOT EXISTS revision    bigint,
        ADD COLUMN IF NOT EXISTS cause       text,
        ADD COLUMN IF NOT EXISTS actor       text,
        ADD COLUMN IF NOT EXISTS request_id  text,
        ADD COLUMN IF NOT EXISTS reason      text
    """,
    """
    ALTER TABLE public.{p}pending_writes
        ADD COLUMN IF NOT EXISTS revision         bigint,
        ADD COLUMN IF NOT EXISTS digest           bytea,
        ADD COLUMN IF NOT EXISTS cause            text,
        ADD COLUMN IF NOT EXISTS actor            text,
        ADD COLUMN IF NOT EXISTS call_request_id  text,
        ADD COLUMN IF NOT EXISTS reason           text
    """,
)


def upgrade() -> None:
    """Add them."""
    prefix = attribute("prefix")
    for statement in _STATEMENTS:
        op.execute(statement.format(p=prefix))
