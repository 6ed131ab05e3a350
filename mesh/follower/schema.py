"""The tables of a follower, for the migrations of the servers that have one."""

from __future__ import annotations


def create_statements(table: str, prefix: str) -> list[str]:
    """SQL that makes the replica table `table` and its cursors `{prefix}_cursors`.

    A row is a file on one element; a file is visible while any of its rows is not deleted.
    Its `digest` is that of the message it was made of, NULL where that is not known.
    `reading` names the snapshot whose files are let in, empty while none is read.
    `{prefix}_seen` holds the ids met by a snapshot that is being read; it may be lost.
    `{prefix}_set_aside` names files whose newest state the table could not take. Truncating
    the replica table voids the cursors: what they say would not be there any more.
    """
    return [
        f"""
        CREATE TABLE {table} (
            file_id text NOT NULL,
            storage_element_id text NOT NULL,
            sequence bigint NOT NULL,
            digest bytea,
            revision bigint NOT NULL,
            state text NOT NULL,
            namespace text NOT NULL,
            original_filename text NOT NULL,
            storage_filename text NOT NULL,
            storage_path text NOT NULL,
            size_bytes bigint NOT NULL,
            content_type text NOT NULL,
            sha256 text NOT NULL,
            crc32c bigint,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            updated_at timestamptz NOT NULL,
            request_id text NOT NULL,
            description text NOT NULL,
            version text NOT NULL,
            tags text[] NOT NULL,
            attributes jsonb NOT NULL,
            retention_policy text NOT NULL,
            retention_days integer NOT NULL,
            expires_at timestamptz,
            finalized_at timestamptz,
            finalized_to text NOT NULL,
            legal_hold boolean NOT NULL,
            home_since bigint,
            moved_to text NOT NULL DEFAULT '',
            copies integer,
            updated_by text NOT NULL DEFAULT '',
            deleted_at timestamptz,
            PRIMARY KEY (file_id, storage_element_id)
        )
        """,
        f"CREATE INDEX ON {table} (storage_element_id, file_id) INCLUDE (state)",
        f"""
        CREATE TABLE {prefix}_cursors (
            storage_element_id text PRIMARY KEY,
            epoch text NOT NULL DEFAULT '',
            sequence bigint NOT NULL DEFAULT 0,
            change_id text NOT NULL DEFAULT '',
            head bigint NOT NULL DEFAULT 0,
            behind_since timestamptz,
            complete boolean NOT NULL DEFAULT false,
            last_error text NOT NULL DEFAULT '',
            snapshot_error text NOT NULL DEFAULT '',
            failures bigint NOT NULL DEFAULT 0,
            snapshots_wanted bigint NOT NULL DEFAULT 0,
            snapshots_done bigint NOT NULL DEFAULT 0,
            snapshot_files bigint NOT NULL DEFAULT 0,
            snapshot_at timestamptz,
            snapshot_alive_at timestamptz,
            reading text NOT NULL DEFAULT '',
            last_contact_at timestamptz,
            leader text NOT NULL DEFAULT '',
            leader_until timestamptz NOT NULL DEFAULT '-infinity'
        )
        """,
        f"""
        CREATE UNLOGGED TABLE {prefix}_seen (
            storage_element_id text NOT NULL,
            snapshot_id text NOT NULL,
            file_id text NOT NULL,
            PRIMARY KEY (storage_element_id, snapshot_id, file_id)
        )
        """,
        f"""
        CREATE TABLE {prefix}_set_aside (
            storage_element_id text NOT NULL,
            file_id text NOT NULL,
            sequence bigint NOT NULL,
            error text NOT NULL,
            set_aside_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (storage_element_id, file_id)
        )
        """,
        f"""
        CREATE OR REPLACE FUNCTION {prefix}_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE {prefix}_cursors
            SET epoch = '', sequence = 0, change_id = '', head = 0, complete = false;
            RETURN NULL;
        END $$
        """,
        f"""
        CREATE TRIGGER {prefix}_truncated AFTER TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION {prefix}_truncated()
        """,
    ]


def add_states(table: str) -> str:
    """SQL that gives a table of an earlier version what it lacks of `create_statements`.

    All of it is NULL or a constant in the rows that are there: none is written.
    """
    return f"""
        ALTER TABLE {table}
            ADD COLUMN IF NOT EXISTS home_since bigint,
            ADD COLUMN IF NOT EXISTS moved_to text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS copies integer,
            ADD COLUMN IF NOT EXISTS updated_by text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS deleted_at timestamptz
    """


def add_digests(table: str, prefix: str) -> list[str]:
    """As `add_states`: what tells that a row says already what a change does."""
    return [
        f"ALTER TABLE IF EXISTS {table} ADD COLUMN IF NOT EXISTS digest bytea",
        f"ALTER TABLE IF EXISTS {prefix}_cursors"
        " ADD COLUMN IF NOT EXISTS reading text NOT NULL DEFAULT ''",
    ]


def table_names(table: str, prefix: str) -> list[str]:
    """The tables of `create_statements`."""
    return [table, *(f"{prefix}_{kind}" for kind in ("cursors", "seen", "set_aside"))]
