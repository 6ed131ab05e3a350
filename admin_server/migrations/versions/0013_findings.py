"""What is wrong with files in the mesh and waits for somebody."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
        CREATE TABLE findings (
            finding_id   text COLLATE "C" NOT NULL UNIQUE,
            kind         text NOT NULL,
            file_id      text COLLATE "C" NOT NULL,
            element_ids  text[] NOT NULL,
            detail       text NOT NULL,
            found_at     timestamptz NOT NULL DEFAULT now(),
            -- The check that saw it last.
            run          text NOT NULL,
            PRIMARY KEY (file_id, kind)
        )
        """
    )
    op.execute("CREATE INDEX findings_oldest ON findings (found_at, finding_id)")


def downgrade() -> None:
    """Drop it; the next check finds them again."""
    op.execute("DROP TABLE findings")
