"""The workers of one admin: so many transfers at a time, and the next as soon as one ends."""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Gauge

from admin_server.transfers.queue import TransferQueue
from admin_server.transfers.transfer import State
from admin_server.transfers.tried import Tried
from admin_server.transfers.worker import Worker
from mesh.concurrency.bell import Bell
from mesh.concurrency.watched import cancel_and_wait
from mesh.errors import Unavailable

POLL_SECONDS = 2.0
COUNT_SECONDS = 15.0

OPEN = Gauge("artstore_transfers_open", "Transfers that have not ended", ["state"])
OLDEST = Gauge(
    "artstore_transfers_oldest_seconds", "Age of the oldest transfer in that state", ["state"]
)
_log = structlog.stdlib.get_logger(__name__)

_OPEN_STATES = (State.QUEUED, State.COPYING, State.SWITCHING)


class Workers:
    """Works on transfers that are due; run `run` and `count` in the background.

    Args:
        parallel: transfers at most that this admin works on at a time.
        poll_seconds: how often it is looked for what another admin was asked for, and for what is
            tried again.

    Attributes:
        wake: rung when there is something to do.
        tried: whoever waits for a transfer is told by it.
    """

    def __init__(
        self,
        queue: TransferQueue,
        worker: Worker,
        *,
        parallel: int,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._parallel = parallel
        self._poll_seconds = poll_seconds
        self.wake = Bell()
        self.tried = Tried()

    async def run(self) -> None:
        """Work until cancelled; what is not done by then is given back."""
        rings = self.wake.listen()
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                rings.take()
                while len(running) < self._parallel and (task := await self._next()) is not None:
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda _: self.wake.ring())
                await rings.wait(self._poll_seconds)
        finally:
            await cancel_and_wait(*running)

    async def count(self) -> None:
        """Keep the metrics until cancelled."""
        while True:
            try:
                found = {state: (n, age) for state, n, age in await self._queue.open_by_state()}
                for state in _OPEN_STATES:
                    number, age = found.get(state, (0, 0.0))
                    OPEN.labels(state.value).set(number)
                    OLDEST.labels(state.value).set(age)
            except Unavailable:
                pass
            await asyncio.sleep(COUNT_SECONDS)

    async def _next(self) -> asyncio.Task[None] | None:
        try:
            claim = await self._queue.claim()
        except Unavailable as exc:
            # The database says itself when it goes and when it is back; not that it was too slow.
            if isinstance(exc.__cause__, TimeoutError):
                _log.warning("no transfer claimed", reason="looking for one took too long")
            return None
        if claim is None:
            return None
        task = asyncio.create_task(self._worker.work(claim), name="transfer")
        task.add_done_callback(lambda _: self.tried.note(claim.transfer.transfer_id))
        return task
