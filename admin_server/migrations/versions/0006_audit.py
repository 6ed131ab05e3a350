"""The audit: events in a chain of hashes, its head, and how far each element's feed is in it."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE audit_events (
        sequence            bigint PRIMARY KEY CHECK (sequence > 0),
        occurred_at         timestamptz NOT NULL,
        actor               text COLLATE "C" NOT NULL,
        action              text COLLATE "C" NOT NULL,
        resource            text COLLATE "C" NOT NULL,
        outcome             text NOT NULL,
        details             json NOT NULL,
        storage_element_id  text COLLATE "C" NOT NULL,
        request_id          text NOT NULL,
        reason              text NOT NULL,
        source_id           text COLLATE "C" NOT NULL,
        hash                bytea NOT NULL
    )
    """,
    "CREATE INDEX audit_events_actor ON audit_events (actor, sequence)",
    "CREATE INDEX audit_events_action ON audit_events (action, sequence)",
    "CREATE INDEX audit_events_resource ON audit_events (resource, sequence)",
    "CREATE INDEX audit_events_occurred_at ON audit_events (occurred_at)",
    # What is told twice is on record once, whatever else goes wrong.
    """
    CREATE UNIQUE INDEX audit_events_source ON audit_events (storage_element_id, source_id)
    WHERE source_id <> ''
    """,
    # One row: whoever makes the chain longer holds it.
    """
    CREATE TABLE audit_head (
        single    boolean PRIMARY KEY DEFAULT true CHECK (single),
        sequence  bigint NOT NULL,
        hash      bytea NOT NULL
    )
    """,
    "INSERT INTO audit_head (sequence, hash) VALUES (0, decode(repeat('00', 32), 'hex'))",
    """
    CREATE TABLE audit_cursors (
        storage_element_id  text COLLATE "C" PRIMARY KEY,
        epoch               text NOT NULL DEFAULT '',
        sequence            bigint NOT NULL DEFAULT 0,
        change_id           text NOT NULL DEFAULT '',
        leader              text NOT NULL DEFAULT '',
        leader_until        timestamptz NOT NULL DEFAULT '-infinity'
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, and all that was on record."""
    for table in ("audit_cursors", "audit_head", "audit_events"):
        op.execute(f"DROP TABLE {table}")
