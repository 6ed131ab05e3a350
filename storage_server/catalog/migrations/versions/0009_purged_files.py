"""Purges by file: a rebuild asks for them in each batch, of a feed that it makes longer itself."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index them; other changes are in none of it."""
    prefix = attribute("prefix")
    op.execute(
        f"CREATE INDEX IF NOT EXISTS {prefix}feed_purged ON public.{prefix}feed (file_id)"
        " WHERE kind = 'purged'"
    )
