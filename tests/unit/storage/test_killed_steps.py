"""The process dies at each line of each step: then the step was taken whole, or was not begun.

A line is a call of the store, of the tables or of the source; the process dies before it is made,
or when it was done and nothing has heard of it. The next process replays what there is, and admin,
who looks again, has the step taken once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.errors import Aborted
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.steps import arriving
from tests.unit.storage.stepping import CONTENT, LATER, Pair

ACTIVE, COPY, DELETED, GONE, INCOMING, MOVED = (
    FileState.ACTIVE,
    FileState.COPY,
    FileState.DELETED,
    FileState.GONE,
    FileState.INCOMING,
    FileState.MOVED,
)
LONG_EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)


class Died(BaseException):
    """Nothing that this process would still do happens."""


@dataclass
class Death:
    """Comes at a line of that number, counted over all that a process calls.

    Attributes:
        done: the call was done, else it was not made.
        met: it has come.
    """

    at: int
    done: bool
    lines: int = 0
    met: bool = False

    async def before(self, name: str) -> None:
        if self.met:
            raise Died
        self.lines += 1
        self._come(done=False)

    async def after(self, name: str) -> None:
        if self.met:
            raise Died
        self._come(done=True)

    def _come(self, *, done: bool) -> None:
        if self.lines == self.at and self.done is done:
            self.met = True
            raise Died

    def awaits(self, pair: Pair) -> None:
        for calls in (pair.here.calls, pair.here.catalog, pair.here.source.calls):
            calls.before, calls.after = self.before, self.after

    async def take(self, pair: Pair, step: Callable[[Pair], Awaitable[Any]]) -> None:
        """The step, as far as it comes, and nothing of what went on beside it."""
        try:
            await step(pair)
        except (Died, Exception):
            assert self.met
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def nothing(name: str) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A step, and the state that it begins with: None for no file."""

    take: Callable[[Pair], Awaitable[Any]]
    state: FileState | None
    end: FileState | None
    changes: Any = None


async def pull(pair: Pair) -> Any:
    return await pair.pull(COPY)


async def mark_moved(pair: Pair) -> Any:
    return await pair.here.steps.moving.mark_moved(pair.step(), "se-01")


async def activate(pair: Pair) -> Any:
    return await pair.activate(revision=9)


async def sync(pair: Pair) -> Any:
    home = replace(pair.home, home_since=LATER, revision=7, description="later")
    return await pair.here.steps.moving.sync(pair.step(), home)


async def to_gone(pair: Pair) -> Any:
    return await pair.here.steps.collecting.to_gone(pair.step(), "se-01")


async def to_deleted(pair: Pair) -> Any:
    return await pair.here.steps.collecting.to_deleted(pair.step())


async def to_copy(pair: Pair) -> Any:
    return await pair.here.steps.collecting.to_copy(pair.step())


async def purge(pair: Pair) -> Any:
    return await pair.here.steps.collecting.purge(pair.step())


AWAY = {"moved_to": "se-01"}
CASES = {
    "PullFile": Case(pull, None, COPY),
    "PullFile over a stub": Case(pull, GONE, COPY, AWAY),
    "PullFile of what was moved away": Case(pull, MOVED, COPY, AWAY),
    "MarkMoved": Case(mark_moved, ACTIVE, MOVED),
    "Activate": Case(activate, INCOMING, ACTIVE),
    "SyncCopy": Case(sync, COPY, COPY),
    "SyncCopy of an earlier home": Case(sync, ACTIVE, COPY, {"description": "mine alone"}),
    "TO_GONE": Case(to_gone, MOVED, GONE, AWAY),
    "TO_DELETED": Case(to_deleted, ACTIVE, DELETED, {"expires_at": LONG_EXPIRED}),
    "TO_COPY": Case(to_copy, ACTIVE, COPY),
    "PURGE of a stub": Case(purge, GONE, None, AWAY),
    "PURGE of a tombstone": Case(purge, DELETED, None),
}


async def started_again(pair: Pair) -> None:
    """The next process, once it has done what is left to do."""
    for calls in (pair.here.calls, pair.here.catalog, pair.here.source.calls):
        calls.before, calls.after = nothing, nothing
    pair.restarted()
    await pair.here.steps.keeping.take_over()
    await pair.here.replay.all()
    await pair.here.steps.keeping.tidy()


async def taken_again(pair: Pair, case: Case) -> None:
    """Admin looks, and has the step taken if it is still to be."""
    sidecar = pair.sidecar
    if sidecar is None and case.end is None:
        # It does not see the file any more; its row may still be there.
        await pair.here.steps.collecting.purge(pair.step(digest_of=pair.home))
        return
    await case.take(pair)


def of_user(sidecar: Sidecar | None) -> Any:
    """What does not differ by the moment at which a step was taken."""
    return None if sidecar is None else replace(sidecar, updated_at=LONG_EXPIRED, deleted_at=None)


@pytest.mark.parametrize("done", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", CASES)
async def test_a_step_is_whole_wherever_the_process_dies(
    name: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "CHECKPOINT_BYTES", 4)
    case = CASES[name]
    undisturbed = await undisturbed_end(case)
    lines = 0
    while True:
        pair = await Pair.made(CONTENT)
        if case.state is not None:
            await pair.settled(case.state, **(case.changes or {}))
        before = pair.sidecar
        lines += 1
        death = Death(lines, done)
        death.awaits(pair)
        await death.take(pair, case.take)
        if not death.met:
            break
        await started_again(pair)
        assert of_user(pair.sidecar) in (of_user(before), ends(pair, undisturbed)), lines
        await taken_again(pair, case)
        assert of_user(pair.sidecar) == ends(pair, undisturbed), lines
        pair.agrees()
    assert lines > 4


async def undisturbed_end(case: Case) -> Sidecar | None:
    pair = await Pair.made(CONTENT)
    if case.state is not None:
        await pair.settled(case.state, **(case.changes or {}))
    await case.take(pair)
    pair.agrees()
    assert (pair.sidecar and pair.sidecar.state) == case.end
    return pair.sidecar


def ends(pair: Pair, undisturbed: Sidecar | None) -> Any:
    """`undisturbed`, as the file of this pair."""
    if undisturbed is None:
        return None
    own = {
        name: getattr(pair.home, name)
        for name in ("file_id", "created_at", "storage_filename", "storage_path", "sha256")
    }
    expires_at = undisturbed.expires_at if undisturbed.expires_at == LONG_EXPIRED else None
    own["expires_at"] = expires_at or pair.home.expires_at
    return of_user(replace(undisturbed, **own))


async def test_a_purge_asks_for_no_lock_of_the_element() -> None:
    """A rebuild that has read the sidecar puts nothing back: it looks at what was purged since."""
    pair = await Pair.made(CONTENT)
    await pair.settled(GONE, moved_to="se-01")
    pair.here.lazy_lock.error = Aborted("a rebuild has the element", reason="LOCK_HELD")
    await purge(pair)
    assert not [path for path in pair.here.paths() if pair.home.file_id in path]
