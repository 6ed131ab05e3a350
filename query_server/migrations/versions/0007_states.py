"""What the index holds of a file's life on several elements; no row is written for it."""

from alembic import op

from mesh.follower.schema import add_states
from query_server.search.table import TABLE

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(add_states(TABLE))


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
