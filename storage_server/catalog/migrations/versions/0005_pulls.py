"""Files on their way here from another element."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PULLS = """
CREATE TABLE IF NOT EXISTS public.{p}pulls (
    file_id              text        PRIMARY KEY,
    path                 text        NOT NULL,
    sha256               text        NOT NULL,
    size_bytes           bigint      NOT NULL,
    stage_key            text        NOT NULL,
    committed_size_bytes bigint      NOT NULL,
    parts                jsonb       NOT NULL,
    began_at             timestamptz NOT NULL,
    touched_at           timestamptz NOT NULL
)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_PULLS.format(p=attribute("prefix")))
