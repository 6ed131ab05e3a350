"""What the counters have of a file before a write, told by its intent: its row may be missing."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; intents that are on record do not say it."""
    op.execute(
        f"ALTER TABLE public.{attribute('prefix')}pending_writes"
        " ADD COLUMN IF NOT EXISTS counted_homes integer,"
        " ADD COLUMN IF NOT EXISTS counted_bytes bigint"
    )
