"""The operations of one element: those that run, and the last that ended."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import uuid4

import structlog
from prometheus_client import Counter, Histogram

from mesh.errors import Aborted, AlreadyExists, ArtStoreError, InvalidArgument, NotFound
from storage_server.operations.operation import Operation, State

log = structlog.get_logger("storage_server.operations")

KEPT = 100
T = TypeVar("T")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

SECONDS = Histogram(
    "artstore_cache_operation_seconds",
    "Time of check, full, incremental and cleanup",
    ["operation", "outcome"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
FILES = Counter(
    "artstore_cache_operation_files_total", "Files dealt with by cache operations", ["operation"]
)


class Operations:
    """Runs operations beside their callers: they go on when the caller leaves."""

    def __init__(self) -> None:
        self._operations: OrderedDict[str, tuple[Operation, asyncio.Task[Any]]] = OrderedDict()

    async def run(
        self,
        operation_type: str,
        operation_id: str,
        work: Callable[[Operation], Awaitable[T]],
    ) -> T:
        """Start the work and wait for its result.

        A second call with the id of an operation of the same type waits for that one.

        Raises:
            AlreadyExists: the id belongs to an operation of another type.
            InvalidArgument: the id is not 1 to 128 of letters, digits and `._:-`.
            Aborted: it was cancelled (reason CANCELLED) or pre-empted.
        """
        name = operation_id or uuid4().hex
        if not _ID.fullmatch(name):
            raise InvalidArgument("1 to 128 letters, digits or ._:-", field="operation_id")
        if name in self._operations:
            operation, task = self._operations[name]
            if operation.operation_type != operation_type:
                raise AlreadyExists(f"operation {name} is a {operation.operation_type}")
        else:
            operation = Operation(name, operation_type)
            task = asyncio.create_task(self._guard(operation, work), name=f"operation {name}")
            task.add_done_callback(_retrieve)
            self._operations[name] = (operation, task)
            self._forget_old()
        return cast(T, await asyncio.shield(task))

    def find(self, operation_id: str) -> Operation:
        """An operation; with an empty id the one that runs, else the last one.

        Raises:
            NotFound: there is none.
        """
        if operation_id:
            if operation_id in self._operations:
                return self._operations[operation_id][0]
        elif self._operations:
            known = [operation for operation, _ in self._operations.values()]
            return next((one for one in reversed(known) if not one.state.ended), known[-1])
        raise NotFound(f"no operation {operation_id or 'has run on this element yet'}")

    def cancel(self, operation_id: str) -> State:
        """Stop an operation; its state when it was told."""
        operation = self.find(operation_id)
        state = operation.state
        if not state.ended:
            self._operations[operation.operation_id][1].cancel()
        return state

    async def stop(self) -> None:
        """Cancel all and wait for their ends."""
        tasks = [task for _, task in self._operations.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, operation: Operation, work: Callable[[Operation], Awaitable[T]]) -> T:
        started = asyncio.get_running_loop().time()
        name = operation.operation_type
        log.info("operation starts", operation_id=operation.operation_id, operation=name)
        try:
            result = await work(operation)
        except asyncio.CancelledError:
            operation.end(State.CANCELLED, "cancelled")
            raise Aborted(f"this {name} was cancelled", reason="CANCELLED") from None
        except Aborted as error:
            lost = error.reason in ("PREEMPTED", "LOCK_LOST")
            operation.end(State.PREEMPTED if lost else State.FAILED, error.message)
            raise
        except ArtStoreError as error:
            operation.end(State.FAILED, error.message)
            raise
        except Exception:
            operation.end(State.FAILED, "internal error, see the server's log")
            log.exception("operation crashed", operation_id=operation.operation_id, operation=name)
            raise
        else:
            operation.end(State.SUCCEEDED)
            return result
        finally:
            seconds = asyncio.get_running_loop().time() - started
            SECONDS.labels(name, operation.state.value).observe(seconds)
            FILES.labels(name).inc(operation.done)
            log.info(
                "operation ends",
                operation_id=operation.operation_id,
                operation=name,
                state=operation.state.value,
                seconds=round(seconds, 3),
                error=operation.error,
            )

    def _forget_old(self) -> None:
        while len(self._operations) > KEPT:
            oldest = next(
                (name for name, (one, _) in self._operations.items() if one.state.ended), None
            )
            if oldest is None:
                return
            del self._operations[oldest]


def _retrieve(task: asyncio.Task[Any]) -> None:
    # The caller may have left; the error is logged and kept in the operation.
    if not task.cancelled():
        task.exception()
