"""What a file's row holds of its life on several elements: columns, and the states it may be in.

No row is written: each column is NULL or a constant in all that were written before, and their
hashes are not taken over it. What the wider condition asks for held already, so no row is looked
at either.
"""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE public.{p}files
        ADD COLUMN IF NOT EXISTS home_since bigint,
        ADD COLUMN IF NOT EXISTS moved_to text NOT NULL DEFAULT '',
        ADD COLUMN IF NOT EXISTS copies integer,
        ADD COLUMN IF NOT EXISTS updated_by text NOT NULL DEFAULT '',
        ADD COLUMN IF NOT EXISTS deleted_at timestamptz,
        DROP CONSTRAINT IF EXISTS {p}files_state_check,
        ADD CONSTRAINT {p}files_state_check CHECK (state IN (
            'active', 'deleted', 'moved', 'copy', 'incoming', 'gone', 'erased')) NOT VALID
    """,
)


def upgrade() -> None:
    """Add them."""
    prefix = attribute("prefix")
    for statement in _STATEMENTS:
        op.execute(statement.format(p=prefix))
