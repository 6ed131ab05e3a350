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


def _cleared(aside: str, ids: str, source: str, condition: str = "true") -> str:
    """What the table takes, or the element has no more, is not set aside any longer."""
    return f"""cleared AS (
            DELETE FROM {aside} a USING {source}
            WHERE a.storage_element_id = $3 AND a.file_id = ANY({ids}::text[]) AND {condition}
        )"""


def apply_changes(table: str, cursors: str, aside: str) -> str:
    """Changes and the cursor from old to new; answers whether the cursor was the old one.

    Parameters: rows, removed ids, element, leader, old epoch, sequence, change id, new
    sequence, change id, time of the last change, ids of rows and removed.
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
        {_cleared(aside, "$11", "moved")},
        written AS (
            INSERT INTO {table} AS t ({_NAMES}) {_incoming(table, "moved")}
            ON CONFLICT ({_KEY}) DO UPDATE SET {_ASSIGN} WHERE t.sequence <= excluded.sequence
        )
        SELECT EXISTS (SELECT FROM moved) AS moved
    """


def apply_snapshot(table: str, cursors: str, seen: str, aside: str) -> str:
    """A piece of a snapshot; rows that are equal already stay untouched.

    Parameters: rows, their ids, element, leader, snapshot id, the snapshot's head, whether to
    replace: then whatever the table has gives way, else only what is not newer than the head.
    Answers whether this process leads, and how many rows differed.
    """
    return f"""
        WITH led AS (
            UPDATE {cursors}
            SET snapshot_files = snapshot_files + cardinality($2::text[]),
                snapshot_alive_at = now(), last_contact_at = now(), last_error = ''
            WHERE storage_element_id = $3 AND leader = $4 AND reading = $5
            RETURNING 1
        ),
        met AS (
            INSERT INTO {seen} (storage_element_id, snapshot_id, file_id)
            SELECT $3, $5, id FROM unnest($2::text[]) id, led ON CONFLICT DO NOTHING
        ),
        {_cleared(aside, "$2", "led", "($7 OR a.sequence <= $6)")},
        incoming AS MATERIALIZED ({_incoming(table, "led")}),
        compared AS MATERIALIZED (
            SELECT i.file_id,
                   t.file_id IS NOT NULL AND {_of("t")} IS NOT DISTINCT FROM {_of("i")} AS same
            FROM incoming i LEFT JOIN LATERAL (
                SELECT * FROM {table}
                WHERE file_id = i.file_id AND storage_element_id = i.storage_element_id OFFSET 0
            ) t ON true
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


def apply_unseen(table: str, cursors: str, aside: str) -> str:
    """What the element said of rows that its snapshot lacked; answers whether this one leads.

    Parameters: rows, removed ids, element, leader, the snapshot's head, whether to replace,
    ids of rows and removed, the snapshot's id.
    """
    return f"""
        WITH led AS (
            UPDATE {cursors} SET snapshot_alive_at = now(), last_contact_at = now()
            WHERE storage_element_id = $3 AND leader = $4 AND reading = $8
            RETURNING 1
        ),
        gone AS (
            DELETE FROM {table} t USING led
            WHERE t.storage_element_id = $3 AND t.file_id = ANY($2::text[])
              AND ($6 OR t.sequence <= $5)
        ),
        {_cleared(aside, "$7", "led", "($6 OR a.sequence <= $5)")},
        written AS (
            INSERT INTO {table} AS t ({_NAMES}) {_incoming(table, "led")}
            ON CONFLICT ({_KEY}) DO UPDATE SET {_ASSIGN} WHERE $6 OR t.sequence <= $5
        )
        SELECT EXISTS (SELECT FROM led) AS led
    """


def set_aside(aside: str, source: str) -> str:
    """The end of a statement that records a file the table cannot take.

    Parameters: $1 element, $2 file, $3 sequence, $4 error. `source` holds a row if it may.
    """
    return f"""
        INSERT INTO {aside} AS a (storage_element_id, file_id, sequence, error)
        SELECT $1, $2, $3::bigint, $4 FROM {source}
        ON CONFLICT (storage_element_id, file_id) DO UPDATE
        SET sequence = excluded.sequence, error = excluded.error, set_aside_at = now()
        WHERE a.sequence <= excluded.sequence
    """
