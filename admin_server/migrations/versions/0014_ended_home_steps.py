"""When a home-making step ended; what ended is kept for some minutes."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and the index by which old ones are cleared away."""
    op.execute("ALTER TABLE home_steps ADD COLUMN ended_at timestamptz")
    op.execute("CREATE INDEX home_steps_ended ON home_steps (ended_at) WHERE ended_at IS NOT NULL")


def downgrade() -> None:
    """Drop it, and what has ended."""
    op.execute("DELETE FROM home_steps WHERE ended_at IS NOT NULL")
    op.execute("ALTER TABLE home_steps DROP COLUMN ended_at")
