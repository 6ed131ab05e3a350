"""Why an element takes no uploads, beside whether it does."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute(
        "ALTER TABLE storage_elements ADD COLUMN IF NOT EXISTS"
        " unwritable_reason text NOT NULL DEFAULT ''"
    )


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE storage_elements DROP COLUMN IF EXISTS unwritable_reason")
