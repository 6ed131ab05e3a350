"""Table `suspensions`: accounts whose tokens every server refuses, and until when.

A row without `ends_at` is of an account that is suspended: all its tokens are refused. One with
`ends_at` is of an account that was deleted, or whose earlier tokens were ended: tokens issued up
to the second of `suspended_at` are refused, until `ends_at`, when none of them lives any more.
Tokens of a later account of that name are issued after that second (`Account.tokens_after`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mesh.postgres.database import Database

# The longest that ARTSTORE_TOKEN_SECONDS can say, and what clocks may differ.
LONGEST_TOKEN_LIFE = timedelta(days=1, minutes=5)

# A login that reads the account while its tokens are ended gets one that is ended, too.
UNDER_WAY = timedelta(seconds=1)

_STANDING = "(ends_at IS NULL OR ends_at > $1)"


@dataclass(frozen=True, slots=True)
class Suspension:
    """One row; `ends_at` is None as long as the account is suspended."""

    client_id: str
    suspended_at: datetime
    ends_at: datetime | None


class SuspensionTable:
    """Reads the rows that still count; raises `Unavailable` while the database is down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, after: str, limit: int, *, now: datetime) -> tuple[list[Suspension], int]:
        """(at most `limit` of them by client_id that follow `after`, how many there are)."""
        rows = await self._database.fetch(
            "SELECT client_id, suspended_at, ends_at FROM suspensions"
            f" WHERE {_STANDING} AND client_id > $2 ORDER BY client_id LIMIT $3",
            now,
            after,
            limit,
        )
        found = [Suspension(*row) for row in rows]
        if not after and len(found) < limit:
            return found, len(found)
        total = await self._database.fetchval(
            f"SELECT count(*) FROM suspensions WHERE {_STANDING}", now
        )
        return found, int(total)


async def suspend(connection: Any, client_id: str, now: datetime) -> None:
    """All tokens of the account are refused from now on; one that is suspended stays so."""
    await connection.execute(
        "INSERT INTO suspensions (client_id, suspended_at) VALUES ($1, $2)"
        " ON CONFLICT (client_id) DO UPDATE"
        " SET suspended_at = EXCLUDED.suspended_at, ends_at = NULL"
        " WHERE suspensions.ends_at IS NOT NULL",
        client_id,
        now,
    )


async def end_tokens(connection: Any, client_id: str, now: datetime) -> None:
    """Tokens issued so far are refused as long as they could live, also of a suspended account.

    For one that is deleted, or was resumed.
    """
    await connection.execute("DELETE FROM suspensions WHERE ends_at <= $1", now)
    await connection.execute(
        "INSERT INTO suspensions (client_id, suspended_at, ends_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (client_id) DO UPDATE"
        " SET suspended_at = EXCLUDED.suspended_at, ends_at = EXCLUDED.ends_at",
        client_id,
        now,
        now + LONGEST_TOKEN_LIFE,
    )


async def lift(connection: Any, client_id: str) -> None:
    """No token of the account is refused any more."""
    await connection.execute("DELETE FROM suspensions WHERE client_id = $1", client_id)


async def last_end(connection: Any, client_id: str) -> datetime | None:
    """When tokens of that name were last ended, as far as any of them could live still."""
    found: datetime | None = await connection.fetchval(
        "SELECT suspended_at FROM suspensions WHERE client_id = $1", client_id
    )
    return found
