"""How far the table is, known without asking the database each time; and waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from weakref import WeakValueDictionary

from mesh.concurrency.bell import Bell
from mesh.follower.cursor import Cursor, SyncStatus
from mesh.follower.replicas import ReplicaTable

# While another process leads, all that wait share one look at the cursors. Who has waited for long
# looks less often.
POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 0.5


class Progress:
    """Of all elements. `reached` is told by the followers of this process."""

    def __init__(self, table: ReplicaTable) -> None:
        self._table = table
        self._led: dict[str, Cursor] = {}
        # By element, while somebody waits for it.
        self._moved = WeakValueDictionary[str, Bell]()
        self._looking = asyncio.Lock()
        self._statuses: Sequence[SyncStatus] = ()
        self._looked_at = float("-inf")
        self._readings = 0

    def reached(self, element_id: str, cursor: Cursor | None) -> None:
        """This process has brought the cursor there; None: it does not lead there now."""
        before = self._led.pop(element_id, None)
        if cursor is not None:
            self._led[element_id] = cursor
        if cursor is None or before is None or before.epoch != cursor.epoch:
            # More than the place has changed: what was read of the table is outdated.
            self._looked_at, self._readings = float("-inf"), self._readings + 1
        moved = self._moved.get(element_id)
        if moved is not None:
            moved.ring()

    async def statuses(self, max_age_seconds: float = 0.0) -> Sequence[SyncStatus]:
        """As in the table, read no longer ago than that."""
        asked_at = time.monotonic()
        async with self._looking:
            if self._looked_at < asked_at - max_age_seconds:
                looked_at, reading = time.monotonic(), self._readings
                self._statuses = await self._table.statuses()
                if reading == self._readings:
                    self._looked_at = looked_at
            return self._statuses

    async def wait_for(self, element_id: str, epoch: str, sequence: int) -> None:
        """Wait until the table has a change; end it by a timeout around the call.

        A change of an epoch that is over is part of every snapshot of the next one; but an
        epoch that differs may also be one that the follower has yet to hear of. So a snapshot
        of another epoch counts only when the element was heard of after this call began.
        """
        began: datetime | None = None
        moved = self._moved.setdefault(element_id, Bell())
        moves, since = moved.listen(), time.monotonic()
        while True:
            moves.take()
            if _has(self._led.get(element_id), epoch, sequence):
                return
            status = await self._status(element_id)
            if status is not None:
                began = began or status.read_at
                if _has(status.cursor, epoch, sequence) or _is_over(status, epoch, began):
                    return
            leads = element_id in self._led
            patience = (time.monotonic() - since) / 4
            pause = min(max(POLL_SECONDS, patience), LONGEST_POLL_SECONDS)
            await moves.wait(1.0 if leads else pause)

    async def _status(self, element_id: str) -> SyncStatus | None:
        for status in await self.statuses(POLL_SECONDS):
            if status.element_id == element_id:
                return status
        return None


def _has(cursor: Cursor | None, epoch: str, sequence: int) -> bool:
    return cursor is not None and cursor.epoch == epoch and cursor.sequence >= sequence


def _is_over(status: SyncStatus, epoch: str, began: datetime) -> bool:
    heard = status.last_contact_at is not None and status.last_contact_at > began
    return status.complete and heard and status.cursor.epoch not in ("", epoch)
