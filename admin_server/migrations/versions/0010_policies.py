"""What holds for the files of each namespace."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, where what is unset takes its default."""
    op.execute(
        """
        CREATE TABLE policies (
            namespace text COLLATE "C" PRIMARY KEY,
            default_retention_days integer,
            max_retention_days integer,
            copies integer,
            max_copies integer,
            trash_days integer,
            quota_bytes bigint,
            updated_at timestamptz NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE policies")
