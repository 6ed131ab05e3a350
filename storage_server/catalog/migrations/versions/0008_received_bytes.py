"""How much of each resumable upload came, also of what a store could not keep."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of uploads that are open it says nothing until they are written to."""
    op.execute(
        f"ALTER TABLE public.{attribute('prefix')}uploads"
        " ADD COLUMN IF NOT EXISTS received_bytes bigint NOT NULL DEFAULT 0"
    )
