"""Which accounts an ADMIN has deleted, and which elements have lost theirs by that."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table and column; what is registered without an account stays admitted."""
    op.execute(
        """
        CREATE TABLE deleted_accounts (
            client_id text COLLATE "C" PRIMARY KEY,
            deleted_at timestamptz NOT NULL
        )
        """
    )
    op.execute(
        "ALTER TABLE storage_elements ADD COLUMN account_deleted boolean NOT NULL DEFAULT false"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE storage_elements DROP COLUMN account_deleted")
    op.execute("DROP TABLE deleted_accounts")
