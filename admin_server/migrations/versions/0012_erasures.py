"""Files that were erased for ever: by whom, why, and what remains to be done."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE erasures (
        file_id          text COLLATE "C" PRIMARY KEY,
        namespace        text NOT NULL,
        reason           text NOT NULL,
        requested_by     text NOT NULL,
        operation_id     text NOT NULL,
        requested_at     timestamptz NOT NULL DEFAULT now(),
        done_at          timestamptz,
        -- Elements that have it on record, that did not answer, that hold the file.
        erased_on        text[] NOT NULL DEFAULT '{}',
        waits_for        text[] NOT NULL DEFAULT '{}',
        held_on          text[] NOT NULL DEFAULT '{}',
        attempts         integer NOT NULL DEFAULT 0,
        attempted_at     timestamptz NOT NULL DEFAULT '-infinity',
        next_attempt_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX erasures_undone ON erasures (next_attempt_at) WHERE done_at IS NULL",
)


def upgrade() -> None:
    """Make table and index."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE erasures")
