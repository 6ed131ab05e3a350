"""What the file registry holds of a file's life on several elements, and which followers of an
element do not know of it yet; no row is written for it.
"""

from alembic import op

from admin_server.registry.registry import TABLE
from mesh.follower.schema import add_states

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute(add_states(TABLE))
    op.execute(
        "ALTER TABLE storage_elements"
        " ADD COLUMN IF NOT EXISTS followers_behind text[] NOT NULL DEFAULT '{}'"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP INDEX IF EXISTS {TABLE}_on_the_way")
    op.execute("ALTER TABLE storage_elements DROP COLUMN followers_behind")
    op.execute(
        f"ALTER TABLE {TABLE} DROP COLUMN home_since, DROP COLUMN moved_to, DROP COLUMN copies,"
        " DROP COLUMN updated_by, DROP COLUMN deleted_at"
    )
