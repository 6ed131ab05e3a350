"""When a cache row has expired: the one rule, in Python and as one SQL expression.

A row expires `cache_ttl_hours` after `cache_updated_at`, less up to 10 % that its file id
decides: rows that a rebuild verified together do not expire together, and none is ever
answered unverified for longer than its TTL.

The expression has no index of its own: one on `cache_updated_at` would make every renewal
write all indexes of the table anew, to save a scan of some 20 ms for 100,000 rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_STEPS = 101


def jitter_thousandths(file_id: str) -> int:
    """0 to 100, fixed by the id: thousandths of the TTL by which the row expires earlier."""
    if not file_id:
        return 0
    return (ord(file_id[-2:][0]) * 31 + ord(file_id[-1])) % _STEPS


def expires_at(file_id: str, cache_updated_at: datetime, cache_ttl_hours: int) -> datetime:
    """The moment from which the row is expired."""
    milliseconds = cache_ttl_hours * 3600 * (1000 - jitter_thousandths(file_id))
    return cache_updated_at + timedelta(milliseconds=milliseconds)


def expired_sql(alias: str, now: str) -> str:
    """`expires_at(...) <= now` in SQL.

    Args:
        alias: of the files table in the query.
        now: SQL of a timestamptz, as `$1::timestamptz`.
    """
    jitter = (
        f"((ascii(right({alias}.file_id, 2)) * 31 + ascii(right({alias}.file_id, 1))) % {_STEPS})"
    )
    return (
        f"({alias}.cache_updated_at + {alias}.cache_ttl_hours::bigint * 3600 * (1000 - {jitter})"
        f" * interval '1 millisecond' <= {now})"
    )
