"""What one of several admins does at a time: whoever holds the lease."""

from __future__ import annotations

import secrets

from mesh.postgres.database import Database


class Lease:
    """A name that one process holds for a while; a process that was killed loses it by time.

    Args:
        name: of what is done.
        seconds: how long it is held without being taken again.
    """

    def __init__(self, database: Database, name: str, *, seconds: float) -> None:
        self._database = database
        self._name = name
        self._seconds = seconds
        self._owner = secrets.token_hex(8)

    async def take(self) -> bool:
        """Take it, or keep it for as long again; False while somebody else has it.

        Raises:
            Unavailable: the database is down.
        """
        taken = await self._database.execute(
            "INSERT INTO leases AS lease (name, owner, until)"
            " VALUES ($1, $2, now() + make_interval(secs => $3))"
            " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until"
            " WHERE lease.owner = excluded.owner OR lease.until <= now()",
            self._name,
            self._owner,
            self._seconds,
        )
        return taken == "INSERT 0 1"

    async def release(self) -> None:
        """Let the next one have it at once.

        Raises:
            Unavailable: the database is down; it ends by time.
        """
        await self._database.execute(
            "DELETE FROM leases WHERE name = $1 AND owner = $2", self._name, self._owner
        )
