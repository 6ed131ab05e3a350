"""Files that two elements say they are the home of, as their feeds told it."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
        CREATE TABLE unsettled (
            file_id    text COLLATE "C" PRIMARY KEY,
            -- A move may only be half told: it is looked at when the other feed has had its turn.
            due_at     timestamptz NOT NULL DEFAULT now() + interval '2 seconds'
        )
        """
    )
    op.execute("CREATE INDEX unsettled_due ON unsettled (due_at)")


def downgrade() -> None:
    """Drop it: the sweep comes to all of them in some hours."""
    op.execute("DROP TABLE unsettled")
