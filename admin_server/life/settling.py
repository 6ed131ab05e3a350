"""Settling one file: look, take what comes next, and again, until nothing is left to do.

Everything that began can be finished or undone so, from the sidecars alone: what admin's tables say
only tells which step a transfer wants.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from admin_server.clock import Clock
from admin_server.life.homes import HomeSteps
from admin_server.life.looking import Look, Looked
from admin_server.life.next_steps import next_steps
from admin_server.life.seen import Terms
from admin_server.life.stepping import Copied, Erasing, Stepping, Taken, unheard
from admin_server.life.steps import (
    Activate,
    Collect,
    Collected,
    Erase,
    Heal,
    MarkMoved,
    Pull,
    SetAside,
    Step,
)
from mesh.errors import Aborted, ArtStoreError, FailedPrecondition, Unavailable

# A file that is changed all the time is looked at again that often.
ROUNDS = 20

# Other refusals say nothing of what lies there.
_OF_THE_SIDECAR = frozenset({"REVISION_CONFLICT", "FILE_STATE"})

_log = structlog.stdlib.get_logger(__name__)

Wanted = Callable[[Step], bool]
Before = Callable[[Step, Looked], Awaitable[None]]


def mends(step: Step) -> bool:
    """Whether a step finishes or undoes what was begun: it wants nothing new, and counts nothing.

    Transfers are their worker's, what is thrown away by age is the collection's, and what comes
    with the elements' life waits for it.
    """
    if isinstance(step, Collect):
        return step.step in (Collected.TO_COPY, Collected.TO_GONE)
    return not isinstance(step, Pull | MarkMoved | Heal | SetAside | Erase)


def keeps(step: Step) -> bool:
    """Whether a step `mends`, and takes no bytes away."""
    return mends(step) and not (isinstance(step, Collect) and step.step is Collected.TO_GONE)


def transfers(step: Step) -> bool:
    """Whether a step is one of a transfer's worker: `mends`, and those that move the file."""
    return isinstance(step, Pull | MarkMoved) or mends(step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of it.

    Attributes:
        looked: what was found at the end.
        activated: what the last Activate answered; None if none was taken.
        steps: how many were taken.
    """

    looked: Looked
    activated: Taken | None
    steps: int


@dataclass(frozen=True, slots=True)
class Settling:
    """Settles files.

    Attributes:
        terms: how long what is left over stays.
    """

    look: Look
    stepping: Stepping
    homes: HomeSteps
    terms: Terms
    now: Clock

    async def settle(
        self,
        file_id: str,
        *,
        wanted: Wanted = mends,
        before: Before | None = None,
        copied: Copied = unheard,
        erasing: Erasing | None = None,
    ) -> Settled:
        """Take steps until none is left.

        Args:
            wanted: which steps are taken here; others are left to whoever takes them.
            before: awaited before each step; an error of it ends everything.
            copied: is told how many bytes of a pull are at its target.
            erasing: for Erase steps.

        Raises:
            Unavailable: an element that the next step needs is silent, or the file is changed all
                the time.
            ArtStoreError: what the first step met, where no other could be taken either.
        """
        activated: Taken | None = None
        taken = 0
        # What a look has ruled out for these tables stays so when the file is on its way.
        known_by = None
        for _ in range(ROUNDS):
            looked = await self.look(file_id)
            if not looked.on_record.waits:
                known_by = looked.on_record.tables
            elif looked.on_record.tables == known_by:
                looked = looked.without_waiting
            steps = [
                _as_asked_for(step, looked) for step in self.next_steps(looked) if wanted(step)
            ]
            if not steps:
                return Settled(looked=looked, activated=activated, steps=taken)
            failed: ArtStoreError | None = None
            for step in steps:
                if before is not None:
                    await before(step, looked)
                try:
                    done = await self._take(step, looked, copied, erasing)
                except Aborted as exc:
                    _log.debug("looked at again", file_id=file_id, reason=exc.message)
                    break
                except ArtStoreError as exc:
                    failed = failed or exc
                    continue
                taken += 1
                activated = done if isinstance(step, Activate) else activated
                break
            else:
                raise failed or Unavailable("nothing could be done")
        raise Unavailable(f"file {file_id} is changed all the time")

    def next_steps(self, looked: Looked) -> tuple[Step, ...]:
        """What comes next; while an Activate may be under way the same one at most."""
        sent = looked.on_record.sent
        if sent is not None and not looked.on_record.waits:
            free = replace(looked.seen, making_home=False)
            for step in next_steps(free, self.terms, looked.decided_at):
                if isinstance(step, Activate) and sent.is_that(step):
                    return (replace(step, home_since=sent.home_since),)
        return next_steps(looked.seen, self.terms, looked.decided_at)

    async def _take(
        self, step: Step, looked: Looked, copied: Copied, erasing: Erasing | None
    ) -> Taken:
        if isinstance(step, Activate):
            return await self.activate(step, looked)
        if isinstance(step, Collect):
            return await self.take(step, looked)
        return await self.stepping.take(step, looked, copied=copied, erasing=erasing)

    async def take(self, step: Collect, looked: Looked) -> Taken:
        """Have something taken away; of a held file once its home's bytes were read.

        That may take longer than a decision lives, so everybody is asked again after it.

        Raises: as `Stepping.take` and `Stepping.read_back`.
        """
        if not step.read_back:
            return await self.stepping.take(step, looked)
        home_sha256 = await self.stepping.read_back(looked)
        looked = await self.look(looked.file_id)
        if step not in self.next_steps(looked):
            raise Aborted(
                "the file was changed while its home's bytes were read; look again",
                reason="REVISION_CONFLICT",
            )
        return await self.stepping.take(step, looked, home_sha256=home_sha256)

    async def activate(self, step: Activate, looked: Looked) -> Taken:
        """Have a home made, on record from before it is sent until its end is known.

        Raises:
            Unavailable: another one of the file may still be taken; or the element is silent.
            Aborted, FailedPrecondition: it was refused, or another one has ended meanwhile.
        """
        is_new = await self.homes.begin(looked.file_id, step, on_record=looked.on_record)
        try:
            done = await self.stepping.take(step, looked)
        except (Aborted, FailedPrecondition) as exc:
            # The sidecar is another one: it was refused. One that was sent earlier may have been
            # taken before that, or still be on its way; the next look tells.
            if is_new and exc.reason in _OF_THE_SIDECAR:
                await self.homes.end(looked.file_id, step.home_since)
            raise
        await self.homes.end(looked.file_id, step.home_since)
        _log.info(
            "home changed",
            file_id=looked.file_id,
            element=step.element_id,
            home_since=step.home_since,
        )
        return done


def _as_asked_for(step: Step, looked: Looked) -> Step:
    """The end of a switch that a finalization was given up in ends the finalization too."""
    if not isinstance(step, Activate) or step.revision is None or step.finalizes:
        return step
    no_other = looked.on_record.transfer is None
    ends_it = no_other and looked.on_record.finalizes_to == step.element_id
    return replace(step, finalizes=True) if ends_it else step
