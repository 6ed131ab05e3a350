"""Which account reports for an element, and what of an element waits for an ADMIN's word."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. What is registered is admitted as it is, and keeps its account."""
    op.execute("ALTER TABLE service_accounts ADD COLUMN IF NOT EXISTS storage_element_id text")
    op.execute(
        "CREATE UNIQUE INDEX IF NOT EXISTS service_accounts_storage_element_id"
        " ON service_accounts (storage_element_id)"
    )
    op.execute(
        """
        ALTER TABLE storage_elements
            ADD COLUMN IF NOT EXISTS awaiting_store_id text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS awaiting_endpoint text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS awaiting_at timestamptz,
            ADD COLUMN IF NOT EXISTS admissions integer NOT NULL DEFAULT 0
        """
    )
    # Until now nobody wrote down who reports for what. `make run` and compose.yaml have always
    # named an element's account after it; others are bound by the bootstrap file.
    op.execute(
        """
        UPDATE service_accounts SET storage_element_id = element.storage_element_id
        FROM storage_elements AS element
        WHERE role = 'SERVICE' AND client_id = 'storage-' || element.storage_element_id
        """
    )


def downgrade() -> None:
    """Drop the columns."""
    op.execute("ALTER TABLE service_accounts DROP COLUMN IF EXISTS storage_element_id")
    for column in ("awaiting_store_id", "awaiting_endpoint", "awaiting_at", "admissions"):
        op.execute(f"ALTER TABLE storage_elements DROP COLUMN IF EXISTS {column}")
