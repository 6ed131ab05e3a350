"""A lock while it is held: renewed in the background, and its work stopped when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mesh.errors import Aborted
from storage_server.locks.kinds import LockKind


@dataclass(slots=True)
class HeldLock:
    """A lock that this process took.

    Attributes:
        kind: what it is held for.
        file_id: the file of a lazy refresh, else empty.
        fence: guarded transactions compare it with the fences in PostgreSQL.
        owner: random, names this very taking.
        operation_id: the operation it is held for.
    """

    kind: LockKind
    file_id: str
    fence: int
    owner: str
    operation_id: str
    _lost: Aborted | None = None
    _task: asyncio.Task[object] | None = field(default=None, repr=False)
    _cancelled: bool = field(default=False, repr=False)

    @property
    def lost(self) -> bool:
        """Somebody else may have it now."""
        return self._lost is not None

    def check(self) -> None:
        """Raise `Aborted` (reason PREEMPTED or LOCK_LOST) when the lock is lost."""
        if self._lost is not None:
            raise self._lost

    @contextmanager
    def stopping_its_work(self) -> Iterator[None]:
        """Cancel the block as soon as the lock is lost; that leaves it as `Aborted`.

        A cancellation from elsewhere stays one, also when both come together.
        """
        task = asyncio.current_task()
        assert task is not None, "a lock is held by a task"
        before = task.cancelling()
        self._task = task
        try:
            yield
        except asyncio.CancelledError:
            self._end_watch(task)
            if task.cancelling() <= before:
                self.check()
            raise
        except BaseException:
            self._end_watch(task)
            raise
        self._end_watch(task)
        self.check()

    def lose(self, error: Aborted) -> None:
        """Note the loss and stop the work. The first reason stays."""
        if self._lost is None:
            self._lost = error
            if self._task is not None:
                self._cancelled = self._task.cancel()

    def _end_watch(self, task: asyncio.Task[object]) -> None:
        self._task = None
        if self._cancelled:
            self._cancelled = False
            task.uncancel()
