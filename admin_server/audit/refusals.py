"""Calls that servers refused, as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from admin_server.audit.chain import append
from admin_server.audit.event import Event, Outcome
from admin_server.clock import utc_now
from mesh.postgres.database import Database
from mesh.server.interceptors.refusal_spool import EACH_MINUTE, MOST_AT_ONCE


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused call, or equal ones of a minute; see the contract's message of that name."""

    refusal_id: str
    occurred_at: datetime
    actor: str
    action: str
    reason: str
    count: int


class _Budget:
    """How many events an account's word may still make, as many as an honest spool tells."""

    def __init__(self, now: float) -> None:
        self._left = float(MOST_AT_ONCE)
        self._at = now
        self.beyond = 0

    def take(self, wanted: int, now: float) -> int:
        """How many of `wanted` may be made."""
        self._left = min(self._left + (now - self._at) / 60 * EACH_MINUTE, MOST_AT_ONCE)
        self._at = now
        given = min(wanted, int(self._left))
        self._left -= given
        return given

    def give_back(self, count: int) -> None:
        self._left += count


class RefusalRecord:
    """Takes what a server's spool held.

    What an account tells beyond its budget is counted, and put on record as one event with the
    next that it may tell.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._now = now
        self._budgets: dict[str, _Budget] = {}

    async def add(
        self, server: str, refusals: Sequence[Refusal], *, told_by: str = "", dropped: int = 0
    ) -> None:
        """Put them on record; those that were told before are there already.

        Args:
            told_by: account whose word they are; empty for admin itself.
            dropped: refusals that the spool had no room for. They are one event beside the first
                refusal that they are told with.

        Raises:
            Unavailable: the database does not answer; tell the same again.
        """
        if not refusals:
            return
        budget = self._budgets.setdefault(told_by, _Budget(self._now()))
        source = {"server": server} | ({"told_by": told_by} if told_by else {})
        given = budget.take(len(refusals), self._now())
        events = [_event(one, source, told_by) for one in refusals[:given]]
        beyond = max(dropped, 0) + sum(one.count for one in refusals[given:])
        counted = budget.beyond if events else 0
        if events and beyond + counted:
            events.append(
                Event(
                    occurred_at=utc_now(),
                    action="refusals.dropped",
                    outcome=Outcome.REFUSED,
                    details={"count": str(beyond + counted), **source},
                    source_id=f"dropped.{told_by}.{refusals[0].refusal_id}",
                )
            )
        made = 0
        try:
            async with self._database.transaction() as connection:
                made = await append(connection, events)
        finally:
            budget.give_back(max(given - made, 0))
        budget.beyond += beyond if not events else -counted


def _event(one: Refusal, source: dict[str, str], told_by: str) -> Event:
    return Event(
        occurred_at=one.occurred_at,
        actor=one.actor,
        action=one.action,
        outcome=Outcome.REFUSED,
        details={"count": str(one.count), **source},
        reason=one.reason,
        source_id=f"refusal.{told_by}.{one.refusal_id}",
    )
