"""Transfers, home-making steps whose end is not known yet, and what only one admin does."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE transfers (
        transfer_id        text COLLATE "C" PRIMARY KEY,
        kind               text NOT NULL,
        file_id            text COLLATE "C" NOT NULL,
        namespace          text NOT NULL,
        source             text COLLATE "C" NOT NULL,
        target             text COLLATE "C" NOT NULL,
        -- Its caller named it: no other is taken when it has no room.
        target_named       boolean NOT NULL DEFAULT true,
        state              text NOT NULL,
        copied_size_bytes  bigint NOT NULL DEFAULT 0,
        size_bytes         bigint NOT NULL,
        attempts           integer NOT NULL DEFAULT 0,
        next_attempt_at    timestamptz,
        error              text NOT NULL DEFAULT '',
        requested_by       text NOT NULL,
        request_id         text NOT NULL,
        change_token       text NOT NULL DEFAULT '',
        created_at         timestamptz NOT NULL DEFAULT now(),
        updated_at         timestamptz NOT NULL DEFAULT now(),
        ended_at           timestamptz,
        -- The source may know of it: it can't be cancelled any more.
        source_told        boolean NOT NULL DEFAULT false,
        -- What a cancelled one left at its target was taken away.
        tidied             boolean NOT NULL DEFAULT true,
        -- The worker that has it, until then; NULL when nobody does.
        owner              text NOT NULL DEFAULT '',
        leased_until       timestamptz
    )
    """,
    # One file has one transfer at a time.
    "CREATE UNIQUE INDEX transfers_open ON transfers (file_id) WHERE ended_at IS NULL",
    # In the order of claims, by account.
    """
    CREATE INDEX transfers_due ON transfers
        (requested_by, (state = 'switching') DESC, next_attempt_at NULLS FIRST, created_at)
    WHERE ended_at IS NULL OR NOT tidied
    """,
    "CREATE INDEX transfers_leased ON transfers (leased_until) WHERE leased_until IS NOT NULL",
    "CREATE INDEX transfers_newest ON transfers (created_at, transfer_id)",
    "CREATE INDEX transfers_of_file ON transfers (file_id, created_at)",
    "CREATE INDEX transfers_in_state ON transfers (state, created_at, transfer_id)",
    "CREATE INDEX transfers_from ON transfers (source, created_at, transfer_id)",
    "CREATE INDEX transfers_to ON transfers (target, created_at, transfer_id)",
    # Activate and promotion, from before they are sent until their end is known.
    """
    CREATE TABLE home_steps (
        file_id     text COLLATE "C" PRIMARY KEY,
        element_id  text COLLATE "C" NOT NULL,
        home_since  bigint NOT NULL,
        digest      text NOT NULL,
        revision    bigint,
        state       text NOT NULL,
        sent_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
        -- As the element was told: it takes nothing that was decided more than a minute ago.
        taken_until timestamptz NOT NULL DEFAULT clock_timestamp() + interval '60 seconds'
    )
    """,
    # Of which database the record is, and since when: of one that is new or was restored nobody
    # knows what was sent before.
    """
    CREATE TABLE home_record (
        single     boolean PRIMARY KEY DEFAULT true CHECK (single),
        of_what    text NOT NULL,
        since      timestamptz NOT NULL
    )
    """,
    # What one of several admins does: who, until when.
    """
    CREATE TABLE leases (
        name   text PRIMARY KEY,
        owner  text NOT NULL,
        until  timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them, and all that was on record."""
    for table in ("leases", "home_record", "home_steps", "transfers"):
        op.execute(f"DROP TABLE {table}")
