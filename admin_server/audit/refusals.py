"""Calls that servers refused, as events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from admin_server.audit.chain import append
from admin_server.audit.event import Event, Outcome
from admin_server.clock import utc_now
from mesh.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused call, or equal ones of a minute; see the contract's message of that name."""

    refusal_id: str
    occurred_at: datetime
    actor: str
    action: str
    reason: str
    count: int


class RefusalRecord:
    """Takes what a server's spool held."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, server: str, refusals: Sequence[Refusal], *, dropped: int = 0) -> None:
        """Put them on record; those that were told before are there already.

        Args:
            dropped: refusals that the spool had no room for. They are one event beside the first
                refusal that they are told with.

        Raises:
            Unavailable: the database does not answer; tell the same again.
        """
        events = [
            Event(
                occurred_at=one.occurred_at,
                actor=one.actor,
                action=one.action,
                outcome=Outcome.REFUSED,
                details={"count": str(one.count), "server": server},
                reason=one.reason,
                source_id=f"refusal.{one.refusal_id}",
            )
            for one in refusals
        ]
        if dropped > 0 and refusals:
            events.append(
                Event(
                    occurred_at=utc_now(),
                    action="refusals.dropped",
                    outcome=Outcome.REFUSED,
                    details={"count": str(dropped), "server": server},
                    source_id=f"dropped.{refusals[0].refusal_id}",
                )
            )
        if not events:
            return
        async with self._database.transaction() as connection:
            await append(connection, events)
