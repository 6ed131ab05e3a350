"""One operation and how far it is."""

from __future__ import annotations

import enum
import time
from datetime import UTC, datetime

import structlog

from mesh.concurrency.bell import Bell, Listener

log = structlog.get_logger("mesh.operations")

RATE_WINDOW_SECONDS = 2.0
LOG_SECONDS = 5.0


class State(enum.StrEnum):
    """Where an operation is."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"

    @property
    def ended(self) -> bool:
        """It will not change any more."""
        return self not in (State.WAITING, State.RUNNING)


class Operation:
    """What is told of an operation; the work moves it, watchers wait for it to move.

    Attributes:
        operation_id: as given by the caller, or made.
        kind: a word of `servicer.KINDS`: check, full, sync, collection ...
        phase: what it does now.
        done, total: files dealt with in this phase, and how many there are (0: unknown).
        files: the most files that one of its phases dealt with: each phase meets them again.
        rate: files a second over the last moments.
        findings: things found wrong so far.
        requested_by: account that asked for it; empty for the server's own work.
        ended_at: None while it runs.
    """

    def __init__(self, operation_id: str, kind: str, requested_by: str = "") -> None:
        self.operation_id = operation_id
        self.kind = kind
        self.state = State.WAITING
        self.phase = "waiting"
        self.done = 0
        self.total = 0
        self.files = 0
        self.rate = 0.0
        self.findings = 0
        self.error = ""
        self.requested_by = requested_by
        self.started_at = datetime.now(UTC)
        self.ended_at: datetime | None = None
        self._mark = (time.monotonic(), 0)
        self._logged = time.monotonic()
        self._moves = Bell()

    def begin(self, phase: str, total: int = 0) -> None:
        """Enter a phase."""
        self.state = State.RUNNING
        self.phase, self.total, self.done, self.rate = phase, total, 0, 0.0
        self._mark = (time.monotonic(), 0)
        self._moves.ring()

    def advance(self, files: int, findings: int = 0) -> None:
        """So many more files are dealt with."""
        self.done += files
        self.files = max(self.files, self.done)
        self.findings += findings
        now = time.monotonic()
        since, before = self._mark
        if now > since:
            self.rate = (self.done - before) / (now - since)
        if now - since > RATE_WINDOW_SECONDS:
            self._mark = (now, self.done)
        if now - self._logged > LOG_SECONDS:
            self._logged = now
            log.info(
                "operation goes on",
                operation_id=self.operation_id,
                operation=self.kind,
                phase=self.phase,
                done=self.done,
                total=self.total,
                findings=self.findings,
            )
        self._moves.ring()

    def end(self, state: State, error: str = "") -> None:
        """It is over."""
        self.state, self.error = state, error
        self.ended_at = datetime.now(UTC)
        if state is State.SUCCEEDED:
            self.phase = "done"
        self._moves.ring()

    def moves(self) -> Listener:
        """Of its moves from now on."""
        return self._moves.listen()
