"""The statements of a replica table that write rows: each is one round trip and one transaction.

Rows come as one JSON text. A row carries the sequence of the change that wrote it: changes are
applied in order, but a snapshot that is read beside them must not undo a later one.
"""

from __future__ import annotations

from mesh.follower.rows import COLUMNS, CONTENT, KEY

_NAMES = ", ".join(COLUMNS)
_KEY = ", ".join(KEY)
_ASSIGN = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in KEY)


def _of(alias: str) -> str:
    return "(" + ", ".join(f"{alias}.{name}" for name in CONTENT) + ")"


def _incoming(table: str, source: str) -> str:
    return f"SELECT {_NAMES} FROM json_populate_recordset(NULL::{table}, $1::json), {source}"


def apply_changes(table: str, cursors: str) -> str:
    """Changes and the cursor from old to new; answers whether the cursor was the old one.

    Parameters: rows, removed ids, element, leader, old epoch, sequence, change id, new
    sequence, change id, time of the last change.
    """
    return f"""
        WITH moved AS (
            UPDATE {cursors}
            SET sequence = $8, change_id = $9, head = greatest(head, $8),
                last_contact_at = now(), last_error = '',
                behind_since = CASE WHEN $8 >= head THEN NULL ELSE $10::timestamptz END
            WHERE storage_element_id = $3 AND leader = $4
              AND epoch = $5 AND sequence = $6 AND change_id = $7
            RETURNING 1
        ),
        gone AS (
            DELETE FROM {table} t USING moved
            WHERE t.storage_element_id = $3 AND t.file_id = ANY($2::text[])
        ),
        written AS (
            INSERT INTO {table} AS t ({_NAMES}) {_incoming(table, "moved")}
            ON CONFLICT ({_KEY}) DO UPDATE SET {_ASSIGN} WHERE t.sequence <= excluded.sequence
        )
        SELECT EXISTS (SELECT FROM moved) AS moved
    """


def apply_snapshot(table: str, cursors: str, seen: str) -> str:
    """A piece of a snapshot; rows that are equal already stay untouched.

    Parameters: rows, their ids, element, leader, snapshot id, the snapshot's head, whether to
    replace: then whatever the table has gives way, else only what is not newer than the head.
    Answers whether this process leads, and how many rows differed.
    """
    return f"""
        WITH led AS (
            UPDATE {cursors}
            SET snapshot_files = snapshot_files + cardinality($2::text[]),
                last_contact_at = now(), last_error = ''
            WHERE storage_element_id = $3 AND leader = $4
            RETURNING 1
        ),
        met AS (
            INSERT INTO {seen} (storage_element_id, snapshot_id, file_id)
            SELECT $3, $5, id FROM unnest($2::text[]) id, led ON CONFLICT DO NOTHING
        ),
        incoming AS MATERIALIZED ({_incoming(table, "led")}),
        compared AS MATERIALIZED (
            SELECT i.file_id, t.sequence AS had,
                   t.file_id IS NOT NULL AND {_of("t")} IS NOT DISTINCT FROM {_of("i")} AS same
            FROM incoming i LEFT JOIN {table} t USING ({_KEY})
        ),
        written AS (
            INSERT INTO {table} AS t ({_NAMES})
            SELECT i.* FROM incoming i JOIN compared c USING (file_id) WHERE NOT c.same
            ON CONFLICT ({_KEY}) DO UPDATE SET {_ASSIGN} WHERE $7 OR t.sequence <= $6
            RETURNING 1
        ),
        relabelled AS (
            UPDATE {table} t SET sequence = i.sequence
            FROM incoming i JOIN compared c USING (file_id)
            WHERE t.file_id = i.file_id AND t.storage_element_id = $3
              AND c.same AND $7 AND t.sequence > i.sequence
        )
        SELECT EXISTS (SELECT FROM led) AS led, (SELECT count(*) FROM written) AS differed
    """


def apply_unseen(table: str, cursors: str) -> str:
    """What the element said of rows that its snapshot lacked; answers whether this one leads.

    Parameters: rows, removed ids, element, leader, the snapshot's head, whether to replace.
    """
    return f"""
        WITH led AS (
            UPDATE {cursors} SET last_contact_at = now()
            WHERE storage_element_id = $3 AND leader = $4
            RETURNING 1
        ),
        gone AS (
            DELETE FROM {table} t USING led
            WHERE t.storage_element_id = $3 AND t.file_id = ANY($2::text[])
              AND ($6 OR t.sequence <= $5)
        ),
        written AS (
            INSERT INTO {table} AS t ({_NAMES}) {_incoming(table, "led")}
            ON CONFLICT ({_KEY}) DO UPDATE SET {_ASSIGN} WHERE $6 OR t.sequence <= $5
        )
        SELECT EXISTS (SELECT FROM led) AS led
    """
