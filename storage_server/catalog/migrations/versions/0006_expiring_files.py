"""Files that expire, by when they do."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them; what a renewal of a row changes is in none of it."""
    prefix = attribute("prefix")
    op.execute(
        f"CREATE INDEX IF NOT EXISTS {prefix}files_expiring ON public.{prefix}files (expires_at)"
        " WHERE state = 'active' AND expires_at IS NOT NULL AND NOT legal_hold"
    )
