"""The runs of the collector, and what each came to."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE collections (
        collection_id     text COLLATE "C" PRIMARY KEY,
        started_at        timestamptz NOT NULL,
        ended_at          timestamptz,
        dry_run           boolean NOT NULL,
        requested_by      text NOT NULL,
        examined_count    bigint NOT NULL DEFAULT 0,
        collected_count   bigint NOT NULL DEFAULT 0,
        freed_size_bytes  bigint NOT NULL DEFAULT 0,
        error_count       bigint NOT NULL DEFAULT 0,
        errors            text[] NOT NULL DEFAULT '{}',
        counts            json NOT NULL DEFAULT '[]'
    )
    """,
    "CREATE INDEX collections_newest ON collections (started_at DESC, collection_id DESC)",
)


def upgrade() -> None:
    """Make the table."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE collections")
