"""What tells that a row says already what a change does; no row is written for it."""

from alembic import op

from mesh.follower.schema import add_digests
from query_server.search.table import TABLE

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in add_digests(TABLE, "sync"):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
