"""The file registry: a replica table and the cursors of its follower."""

from alembic import op

from admin_server.registry.tables import registry_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    for statement in registry_statements():
        op.execute(statement)
