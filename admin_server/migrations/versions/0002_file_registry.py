"""The file registry: a replica table and the cursors of its follower."""

from alembic import op

from admin_server.registry.tables import drop_statement, registry_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables.

    They may be there: when all tables were dropped under an admin, it made these again before it
    ended, for they are a cache.
    """
    op.execute(drop_statement())
    for statement in registry_statements():
        op.execute(statement)
