"""A large index made by SQL: rows as followers would write them, with known rare values."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg

from query_server.search.table import TABLE

WORKERS = 2
EXPIRES_BEFORE = datetime(2101, 1, 1, tzinfo=UTC)

# Syllables of the vocabulary: 2,000 words, the first ones in most texts, the last in few.
_VOCABULARY = """
CREATE TEMP TABLE vocabulary AS
SELECT n AS place, (ARRAY['ka','mo','ri','te','su','lo','ne','vi','dro','pa'])[1 + n % 10]
       || (ARRAY['lan','ber','tik','son','mar','gul','pes','dor','fin','hol'])[1 + n / 10 % 10]
       || (ARRAY['a','um','et','is','ov','ski','ing','or','en','ul','ax','ip','ok','ez','ur',
                 'ad','il','om','us','ek'])[1 + n / 100 % 20] AS word
FROM generate_series(0, 1999) n
"""

# Every value below is a function of n, so each run makes the same rows.
_ROWS = """
INSERT INTO {table} (
    file_id, storage_element_id, sequence, revision, state, namespace, original_filename,
    storage_filename, storage_path, size_bytes, content_type, sha256, created_at, created_by,
    updated_at, request_id, description, version, tags, attributes, retention_policy,
    retention_days, expires_at, finalized_to, legal_hold)
SELECT
    to_char(n, 'FM00000000') || '-0000-7000-8000-' || substr(md5(n::text), 1, 12),
    CASE WHEN n % 5000 = 7 THEN 'se-09' ELSE 'se-0' || (1 + n % 3) END,
    n, 1, CASE WHEN n % 100 = 99 THEN 'deleted' ELSE 'active' END,
    CASE WHEN n % 5000 = 11 THEN 'hr' ELSE 'default' END,
    (ARRAY['report','invoice','photo','contract'])[1 + n % 4] || '_' || w[1] || '-' || w[2]
        || CASE WHEN n % 20 = 3 THEN ' budget' WHEN n % 100 = 5 THEN ' audit' ELSE '' END
        || CASE WHEN n % 5000 = 13 THEN ' quasar' ELSE '' END || '_' || n
        || '.' || CASE WHEN n % 5000 = 17 THEN 'dwg' ELSE
                  (ARRAY['pdf','docx','jpg','txt'])[1 + n % 4] END,
    md5(n::text) || '.bin', '2026/01/01/00',
    CASE WHEN n % 5000 = 19 THEN 10000000000 + n ELSE (n::bigint * 7919) % 50000000 END,
    CASE WHEN n % 5000 = 17 THEN 'image/vnd.dwg' ELSE (ARRAY['application/pdf',
        'application/msword','application/jpg','text/plain'])[1 + n % 4] END,
    md5(n::text) || md5((n + 1)::text), '2024-01-01Z'::timestamptz + n * interval '1 minute',
    CASE WHEN n % 5000 = 23 THEN 'carol' ELSE 'user-' || n % 50 END,
    '2024-01-01Z'::timestamptz + (n::bigint * 7907 % 1000000) * interval '1 minute',
    md5('r' || n), concat_ws(' ', VARIADIC w),
    '', ARRAY[w[3], 'year-' || 2020 + n % 7] || CASE WHEN n % 5000 = 29 THEN ARRAY['urgent']
        ELSE '{{}}' END,
    CASE WHEN n % 5000 = 31 THEN '{{"case": "closed", "team": "red"}}'::jsonb
         ELSE jsonb_build_object('team', 'team-' || n % 20) END,
    CASE WHEN n % 5000 = 37 THEN 'permanent' ELSE 'temporary' END, 30,
    CASE WHEN n % 5000 = 37 THEN NULL WHEN n % 5000 = 41 THEN '2100-01-02Z'::timestamptz
         ELSE '2110-01-01Z'::timestamptz + n * interval '1 minute' END, '', false
FROM generate_series($1::integer, $2::integer) n, LATERAL (
    SELECT array_agg(word) AS w FROM (
        SELECT word FROM generate_series(1, 10) k JOIN vocabulary v
        ON place = floor(2000 * power(((hashint4(n * 17 + k) & 65535) / 65536.0), 3))::integer
    ) picked) words
"""


async def fill(url: str, rows: int) -> None:
    """Write `rows` rows, one in 100 a tombstone, and let the planner know.

    Of each 5,000 rows one has what the others have not: element se-09, namespace hr, word
    quasar, extension dwg, over 10 GB, account carol, tag urgent, attribute case, PERMANENT,
    an early end of its retention.
    """
    connections = [await asyncpg.connect(url) for _ in range(WORKERS)]
    first = connections[0]
    try:
        # An index is made sooner than kept up to date.
        indexes = await first.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1"
            " AND indexname NOT LIKE '%_pkey'",
            TABLE,
        )
        for name, _ in indexes:
            await first.execute(f"DROP INDEX {name}")
        half = rows // WORKERS
        await asyncio.gather(
            *(
                _write(connection, half * number + 1, half * (number + 1))
                for number, connection in enumerate(connections)
            )
        )
        waiting = [definition for _, definition in indexes]
        await asyncio.gather(*(_run(connection, waiting) for connection in connections))
        await first.execute(f"VACUUM ANALYZE {TABLE}")
    finally:
        for connection in connections:
            await connection.close()


async def _write(connection: asyncpg.Connection[Any], first: int, last: int) -> None:
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(_VOCABULARY)
    await connection.execute("ALTER TABLE vocabulary ADD PRIMARY KEY (place)")
    await connection.execute("ANALYZE vocabulary")
    await connection.execute(_ROWS.format(table=TABLE), first, last)


async def _run(connection: asyncpg.Connection[Any], waiting: list[str]) -> None:
    await connection.execute("SET maintenance_work_mem = '256MB'")
    while waiting:
        await connection.execute(waiting.pop())
