"""How many files of each element the index shows, known without counting all rows.

Each statement that writes rows notes by how many files it changes the count of an element and a
namespace, in its own transaction and in rows of its own, so that nobody waits for anybody; the sum
of these is the count. What expires by the clock alone is taken off, by its index, when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.postgres.database import Database
from query_server.search.table import TABLE

TOTALS = "sync_totals"
FUNCTION = "artstore_count_files"
# Of an index of which very much has expired.
COUNT_SECONDS = 20.0

_EACH = f"INSERT INTO {TOTALS} SELECT storage_element_id, namespace"

STATEMENTS = (
    f"""
    CREATE TABLE {TOTALS} (
        storage_element_id text NOT NULL,
        namespace text NOT NULL,
        files bigint NOT NULL
    )
    """,
    f"""
    CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            {_EACH}, count(*) FROM made WHERE state = 'active' GROUP BY 1, 2;
        ELSIF TG_OP = 'DELETE' THEN
            {_EACH}, -count(*) FROM gone WHERE state = 'active' GROUP BY 1, 2;
        ELSIF TG_OP = 'UPDATE' THEN
            {_EACH}, sum(more) FROM (
                SELECT storage_element_id, namespace, 1 AS more FROM made WHERE state = 'active'
                UNION ALL
                SELECT storage_element_id, namespace, -1 FROM gone WHERE state = 'active') changed
            GROUP BY 1, 2 HAVING sum(more) <> 0;
        ELSE
            DELETE FROM {TOTALS};
        END IF;
        RETURN NULL;
    END $$
    """,
    *(
        f"CREATE TRIGGER {FUNCTION}_{event.lower()} AFTER {event} ON {TABLE} {rows}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()"
        for event, rows in (
            ("INSERT", "REFERENCING NEW TABLE AS made"),
            ("UPDATE", "REFERENCING NEW TABLE AS made OLD TABLE AS gone"),
            ("DELETE", "REFERENCING OLD TABLE AS gone"),
            ("TRUNCATE", ""),
        )
    ),
    f"{_EACH}, count(*) FROM {TABLE} WHERE state = 'active' GROUP BY 1, 2",
)

# What was noted, in as few rows as there are elements and namespaces.
SUM_UP = f"""
    WITH noted AS (SELECT ctid FROM {TOTALS} LIMIT 10000 FOR UPDATE SKIP LOCKED),
    taken AS (DELETE FROM {TOTALS} t USING noted WHERE t.ctid = noted.ctid RETURNING t.*)
    INSERT INTO {TOTALS}
    SELECT storage_element_id, namespace, sum(files) FROM taken
    GROUP BY 1, 2 HAVING sum(files) <> 0
"""

_COUNT = f"""
    SELECT storage_element_id, sum(files)::bigint AS files FROM (
        SELECT storage_element_id, files FROM {TOTALS}
        WHERE $1::text[] IS NULL OR namespace = ANY($1)
        UNION ALL
        SELECT storage_element_id, -count(*) FROM {TABLE}
        WHERE state = 'active' AND expires_at <= now() AND NOT legal_hold
          AND ($1::text[] IS NULL OR namespace = ANY($1))
        GROUP BY 1) told
    GROUP BY 1
"""


async def count_files(database: Database, namespaces: Sequence[str] | None) -> dict[str, int]:
    """Files by element, none that has expired; those without any may be left out.

    Args:
        namespaces: only files of these are counted; None means all.

    Raises:
        Unavailable: the database is down or silent.
    """
    rows = await database.fetch(_COUNT, namespaces, timeout=COUNT_SECONDS)
    return {row["storage_element_id"]: row["files"] for row in rows}
