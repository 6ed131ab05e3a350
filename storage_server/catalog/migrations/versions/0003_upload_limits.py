"""Open uploads by their account, and those whose room may lapse."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "CREATE INDEX IF NOT EXISTS {p}uploads_open"
    " ON public.{p}uploads (created_by, created_at, upload_id) WHERE state = 'open'",
    "CREATE INDEX IF NOT EXISTS {p}uploads_without_bytes ON public.{p}uploads (created_at)"
    " WHERE state = 'open' AND committed_size_bytes = 0 AND reserved_bytes > 0",
)


def upgrade() -> None:
    """Make them."""
    prefix = attribute("prefix")
    for statement in _STATEMENTS:
        op.execute(statement.format(p=prefix))
