"""One run: all that is due is looked at, and taken away if it may go.

Which files are worth a look says the registry; whether one may go, and what of it, is decided from
the sidecars that answer, and each step is conditional on the sidecar that it was decided on. A dry
run goes the same way and takes no step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from admin_server.clock import Clock
from admin_server.collection.candidates import Candidate, Candidates
from admin_server.collection.collection import Order, Reason, Tally
from admin_server.collection.leftovers import Leftovers
from admin_server.collection.pace import Pace
from admin_server.collection.plan import Plan, Planned, plan, still_due
from admin_server.life.looking import Look, Looked
from admin_server.life.next_steps import Collect, Terms
from mesh.errors import Aborted, ArtStoreError, FailedPrecondition, Unavailable
from mesh.operations import Operation

AT_ONCE = 8

_log = structlog.stdlib.get_logger(__name__)


class Take(Protocol):
    """Has an element take a step; see `admin_server.life.settling.Settling.take`."""

    async def __call__(self, step: Collect, looked: Looked) -> object: ...


Settle = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Asking:
    """What the collector asks of others about one file.

    Attributes:
        look: asks everybody.
        take: has a step taken.
        settle: has done what is to be done of a file besides taking away, which it leaves to the
            next run: what goes is told, and was foretold. None where nobody does.
    """

    look: Look
    take: Take
    settle: Settle | None = None


# Its home is being changed, or was just then: whoever does so looks at all of the file after it.
_SOMEBODY_ELSE_SETTLES = frozenset({"SWITCHING", "STALE"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file: the steps that were taken, and why no more."""

    done: Sequence[Planned]
    error: str = ""


class Collector:
    """Runs.

    Args:
        candidates: files that are worth a look.
        unread: ids of elements of which the registry does not know all.
        leftovers: what belongs to no file, on each element.
        terms: how long what is kept.
        now: by which files are due.
        per_second: files looked at, at most; 0 is no limit.
    """

    def __init__(
        self,
        candidates: Candidates,
        asking: Asking,
        leftovers: Leftovers,
        *,
        unread: Callable[[], Awaitable[Sequence[str]]],
        terms: Terms,
        now: Clock,
        per_second: float,
    ) -> None:
        self._candidates = candidates
        self._asking = asking
        self._leftovers = leftovers
        self._unread = unread
        self._terms = terms
        self._now = now
        self._per_second = per_second

    async def run(self, operation: Operation, order: Order, tally: Tally) -> None:
        """Do it; what it has come to so far stands in `tally` whenever it ends.

        Raises:
            Unavailable: the registry does not know all files of some element, or the database
                does not answer.
        """
        unread = await self._unread()
        if unread:
            raise Unavailable(
                "nothing is collected while the registry may lack files: storage elements "
                f"{', '.join(unread)} have not been read whole",
                reason="ELEMENT_UNAVAILABLE",
                metadata={"storage_element_ids": ",".join(unread)},
            )
        # First, since what goes of files is a part of the blobs that orphans are a share of.
        operation.begin("dropping")
        await self._leftovers.collect(operation, order, tally)
        operation.begin("reading")
        pace, slots = Pace(self._per_second), asyncio.Semaphore(AT_ONCE)

        async def one(candidate: Candidate) -> Outcome:
            async with slots:
                await pace.turn()
                outcome = await self._file(candidate, order)
                operation.advance(1)
                return outcome

        async for candidates in self._candidates.slices(self._terms, self._now()):
            async with asyncio.TaskGroup() as files:
                tasks = [files.create_task(one(candidate)) for candidate in candidates]
            for candidate, task in zip(candidates, tasks, strict=True):
                _count(candidate, task.result(), tally)

    async def _file(self, candidate: Candidate, order: Order) -> Outcome:
        try:
            looked = await self._asking.look(candidate.file_id)
            found = plan(looked.seen, self._terms, looked.decided_at)
            if order.dry_run:
                return Outcome(found.steps)
        except ArtStoreError as exc:
            return Outcome((), exc.message)
        outcome = await self._carry_out(candidate, looked, found)
        if not found.settles:
            return outcome
        try:
            await self._settle(candidate.file_id)
        except ArtStoreError as exc:
            return Outcome(outcome.done, outcome.error or exc.message)
        return outcome

    async def _settle(self, file_id: str) -> None:
        if self._asking.settle is None:
            return
        try:
            await self._asking.settle(file_id)
        except ArtStoreError as exc:
            if exc.reason not in _SOMEBODY_ELSE_SETTLES:
                raise
            _log.info("not settled", file_id=file_id, reason=exc.message)

    async def _carry_out(self, candidate: Candidate, looked: Looked, found: Plan) -> Outcome:
        """Take the steps in order until one is not taken."""
        done: list[Planned] = []
        for planned in found.steps:
            try:
                if done:
                    looked = await self._asking.look(candidate.file_id)
                    if not still_due(planned.step, looked.seen, self._terms, looked.decided_at):
                        break
                await self._asking.take(planned.step, looked)
            except (Aborted, FailedPrecondition) as exc:
                # It is another one by now, or held: whoever changed it was first.
                _log.info("not collected", file_id=candidate.file_id, reason=exc.message)
                break
            except ArtStoreError as exc:
                return Outcome(done, exc.message)
            done.append(planned)
        return Outcome(done)


def _count(candidate: Candidate, outcome: Outcome, tally: Tally) -> None:
    """A file counts once for each reason; its bytes as often as they go."""
    tally.examined += 1
    size = candidate.size_bytes
    by_reason: dict[Reason, list[Planned]] = {}
    for planned in outcome.done:
        by_reason.setdefault(planned.reason, []).append(planned)
    for reason, steps in by_reason.items():
        freed = size * sum(one.frees_bytes for one in steps)
        bytes_gone = size if reason is Reason.EXPIRED else freed
        tally.add(reason, 1, bytes_gone, (candidate.file_id,), freed=freed)
    if outcome.error:
        tally.fail(f"file {candidate.file_id}: {outcome.error}")
