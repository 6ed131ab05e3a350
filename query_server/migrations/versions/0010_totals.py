"""How many files each element has in the index, kept with every change of its rows."""

from alembic import op

from query_server.following.totals import STATEMENTS
from query_server.search.table import TABLE

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nobody writes between the count and the first note.
    op.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
