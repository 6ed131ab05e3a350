"""Erasures as operations: who asked sees what remains, and where."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from admin_server.erasures.table import Erasure
from mesh.concurrency.bell import Bell
from mesh.errors import ArtStoreError, NotFound
from mesh.operations import Operation, Operations, State

KIND = "erasure"


class Shown:
    """The operations of erasures; each runs until nothing remains.

    They are kept in memory: an admin that starts, or another one, shows those that are not done.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._records: dict[str, Erasure] = {}
        self._moves = Bell()
        self._tasks: set[asyncio.Task[None]] = set()

    def show(self, record: Erasure) -> Operation:
        """Its operation, made if there is none."""
        with suppress(NotFound):
            operation = self._operations.find(record.operation_id)
            if operation.kind != KIND or not operation.state.ended or record.done_at is not None:
                self.moved(record)
                if operation.state.ended:
                    return operation
                if record.done_at is None or operation.kind != KIND:
                    _tell(operation, record)
                    return operation
                # It ends by itself in a moment; who asks now is told already.
                return _as_of_now(record)
        self._records[record.file_id] = record
        task = asyncio.ensure_future(self._run(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _as_of_now(record)

    def moved(self, record: Erasure) -> None:
        """Something has become of it."""
        if record.file_id in self._records:
            self._records[record.file_id] = record
            self._moves.ring()

    async def _run(self, record: Erasure) -> None:
        # Whatever becomes of the operation, the erasure goes on: it is on record.
        with suppress(ArtStoreError):
            await self._operations.run(
                KIND, record.operation_id, lambda one: self._follow(one, record.file_id)
            )
        self._records.pop(record.file_id, None)

    async def _follow(self, operation: Operation, file_id: str) -> None:
        moves = self._moves.listen()
        while True:
            moves.take()
            record = self._records[file_id]
            operation.requested_by = record.requested_by
            operation.started_at = record.requested_at
            _tell(operation, record)
            if record.done_at is not None:
                return
            await moves.wait(None)


def _as_of_now(record: Erasure) -> Operation:
    operation = Operation(record.operation_id, KIND, record.requested_by)
    operation.started_at = record.requested_at
    _tell(operation, record)
    if record.done_at is not None:
        operation.end(State.SUCCEEDED)
    return operation


def _tell(operation: Operation, record: Erasure) -> None:
    operation.begin("dropping", total=len({*record.erased_on, *record.waits_for}))
    operation.advance(len(record.erased_on))
    operation.findings = len(record.held_on)
    told = [
        f"waits for {', '.join(record.waits_for)}" if record.waits_for else "",
        f"held on {', '.join(record.held_on)}" if record.held_on else "",
    ]
    operation.error = "; ".join(one for one in told if one)
