"""The file registry: a replica table and the cursors of its follower."""

from alembic import op

from mesh.follower.schema import create_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLE = "file_registry"


def upgrade() -> None:
    """Make the tables."""
    for statement in create_statements(TABLE, "registry"):
        op.execute(statement)
    op.execute(f"CREATE INDEX ON {TABLE} (created_at, file_id) WHERE state <> 'deleted'")
