"""What tells that a row of the registry says what a change does; no row is written for it."""

from alembic import op

from admin_server.registry.registry import CURSORS, TABLE
from mesh.follower.schema import add_digests

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for statement in add_digests(TABLE, CURSORS):
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute(f"ALTER TABLE {TABLE} DROP COLUMN digest")
    op.execute(f"ALTER TABLE {CURSORS}_cursors DROP COLUMN reading")
