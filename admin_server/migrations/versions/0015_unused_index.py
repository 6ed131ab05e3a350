"""An index of files that expire, which nothing uses."""

from alembic import op

from admin_server.registry.registry import TABLE

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop it where it was made."""
    op.execute(f"DROP INDEX IF EXISTS {TABLE}_expiring")


def downgrade() -> None:
    """Nothing was there that is missed."""
