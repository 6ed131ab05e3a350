"""The operations of a server: those that run, and the last that ended."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

import structlog
from prometheus_client import Counter, Gauge, Histogram

from mesh.concurrency.watched import cancel_and_wait, seen
from mesh.errors import Aborted, AlreadyExists, ArtStoreError, InvalidArgument, NotFound
from mesh.identity.caller import ANONYMOUS, current_caller
from mesh.operations.operation import Operation, State

log = structlog.get_logger("mesh.operations")

KEPT = 100
ANSWERED_AGAIN_SECONDS = 300.0
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
FILES_PER_SECOND = Gauge(
    "artstore_cache_operation_files_per_second",
    "Files dealt with over duration, of the last that succeeded",
    ["operation"],
)


@dataclass(slots=True)
class _Entry:
    """An operation, what was asked, and when it ended (monotonic; None while it runs)."""

    operation: Operation
    asked: Hashable
    task: asyncio.Task[Any]
    ended: float | None = None


class Operations:
    """Runs operations beside their callers: they go on when the caller leaves.

    Args:
        answered_again_seconds: for how long after a success its id answers with that result.
    """

    def __init__(self, *, answered_again_seconds: float = ANSWERED_AGAIN_SECONDS) -> None:
        self._answered_again_seconds = answered_again_seconds
        self._operations: OrderedDict[str, _Entry] = OrderedDict()

    async def run(
        self,
        kind: str,
        operation_id: str,
        work: Callable[[Operation], Awaitable[T]],
        *,
        asked: Hashable = None,
    ) -> T:
        """Start the work and wait for its result.

        While an operation runs, and for some minutes after it succeeded, its id belongs to it:
        the same request gets its result, so a lost answer can be asked for again. After that,
        and at once when it failed, the id is free.

        Args:
            asked: what was asked for besides the kind; tells the same request from another.

        Raises:
            AlreadyExists: the id belongs to another request.
            InvalidArgument: the id is not 1 to 128 of letters, digits and `._:-`.
            Aborted: it was cancelled (reason CANCELLED) or pre-empted.
        """
        name = operation_id or uuid4().hex
        require_operation_id(name)
        entry = self._operations.get(name)
        if entry is None or self._is_free(entry):
            entry = self._start(Operation(name, kind, _requester()), asked, work)
        elif (entry.operation.kind, entry.asked) != (kind, asked):
            raise AlreadyExists(
                f"operation {name} is a {entry.operation.kind} that was asked for with "
                "other parameters; take another operation_id"
            )
        return cast(T, await asyncio.shield(entry.task))

    def find(self, operation_id: str) -> Operation:
        """An operation; with an empty id the one that runs, else the last one.

        Raises:
            NotFound: there is none.
        """
        if operation_id:
            if operation_id in self._operations:
                return self._operations[operation_id].operation
        elif self._operations:
            known = [entry.operation for entry in self._operations.values()]
            return next((one for one in reversed(known) if not one.state.ended), known[-1])
        told = repr(operation_id[:64]) if operation_id else "has run here yet"
        raise NotFound(f"no operation {told}")

    def newest_first(self) -> list[Operation]:
        """Those that run and the last that ended."""
        return [entry.operation for entry in reversed(self._operations.values())]

    def cancel(self, operation_id: str) -> Operation:
        """Stop an operation.

        Raises:
            NotFound: there is none.
        """
        operation = self.find(operation_id)
        if not operation.state.ended:
            # A task that is cancelled before its first step would never tell its end; that step
            # is in the loop's queue already.
            task = self._operations[operation.operation_id].task
            asyncio.get_running_loop().call_soon(task.cancel)
        return operation

    async def stop(self) -> None:
        """Cancel all and wait for their ends."""
        await asyncio.sleep(0)
        await cancel_and_wait(*(entry.task for entry in self._operations.values()))

    def _is_free(self, entry: _Entry) -> bool:
        if entry.ended is None:
            return False
        past = time.monotonic() - entry.ended
        return entry.operation.state is not State.SUCCEEDED or past >= self._answered_again_seconds

    def _start(
        self, operation: Operation, asked: Hashable, work: Callable[[Operation], Awaitable[Any]]
    ) -> _Entry:
        name = operation.operation_id
        task = asyncio.create_task(self._guard(operation, work), name=f"operation {name}")
        entry = _Entry(operation, asked, task)
        task.add_done_callback(lambda done: _ended(entry, done))
        self._operations[name] = entry
        self._operations.move_to_end(name)
        self._forget_old()
        return entry

    async def _guard(self, operation: Operation, work: Callable[[Operation], Awaitable[T]]) -> T:
        started = asyncio.get_running_loop().time()
        name = operation.kind
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
            seconds = asyncio.get_running_loop().time() - started
            FILES_PER_SECOND.labels(name).set(operation.files / seconds if seconds > 0 else 0)
            return result
        finally:
            seconds = asyncio.get_running_loop().time() - started
            SECONDS.labels(name, operation.state.value).observe(seconds)
            FILES.labels(name).inc(operation.files)
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
                (name for name, one in self._operations.items() if one.ended is not None), None
            )
            if oldest is None:
                return
            del self._operations[oldest]


def require_operation_id(name: str) -> None:
    """Raise InvalidArgument unless `name` may name an operation."""
    if not _ID.fullmatch(name):
        raise InvalidArgument("1 to 128 letters, digits or ._:-", field="operation_id")


def _requester() -> str:
    caller = current_caller()
    return "" if caller is ANONYMOUS else caller.subject


def _ended(entry: _Entry, task: asyncio.Task[Any]) -> None:
    entry.ended = time.monotonic()
    # The caller may have left; the error is logged and kept in the operation.
    seen(task)
