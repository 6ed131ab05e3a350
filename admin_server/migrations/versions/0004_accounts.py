"""Accounts whose tokens are refused; limits of accounts; when keys that were replaced end."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table and columns; who is suspended already is refused from now on."""
    op.execute(
        """
        CREATE TABLE suspensions (
            client_id text COLLATE "C" PRIMARY KEY,
            suspended_at timestamptz NOT NULL,
            ends_at timestamptz
        )
        """
    )
    op.execute(
        "INSERT INTO suspensions (client_id, suspended_at)"
        " SELECT client_id, now() FROM service_accounts WHERE suspended"
    )
    op.execute(
        """
        ALTER TABLE service_accounts
            ADD COLUMN tokens_after timestamptz,
            ADD COLUMN limit_open_uploads integer,
            ADD COLUMN limit_reserved_percent integer,
            ADD COLUMN limit_calls integer
        """
    )
    op.execute("ALTER TABLE signing_keys ADD COLUMN verifies_until timestamptz")


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE signing_keys DROP COLUMN verifies_until")
    op.execute(
        """
        ALTER TABLE service_accounts
            DROP COLUMN tokens_after,
            DROP COLUMN limit_open_uploads,
            DROP COLUMN limit_reserved_percent,
            DROP COLUMN limit_calls
        """
    )
    op.execute("DROP TABLE suspensions")
