"""Steps of any order, repeated and on sidecars of long ago: row and counters say what the sidecar
says, and the bytes are there exactly when it stands for some.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import ArtStoreError, Unavailable
from storage_server.domain.sidecar import FileState, Sidecar
from tests.support.memory_element import ALICE
from tests.support.origins import BY_ALICE
from tests.unit.storage.stepping import LATER, Pair

STEPS = (
    "pull a copy",
    "pull it in",
    "mark moved",
    "activate",
    "activate a deleted one",
    "sync",
    "sync with a deleted one",
    "to gone",
    "to deleted",
    "to copy",
    "purge",
    "user's update",
    "user's delete",
    "start again",
)
ROW_STATEMENTS = ("writes.commit_row", "writes.purge")


@dataclass(frozen=True)
class Taken:
    """A step, and how many sidecars ago the one lies that it was decided on."""

    name: str
    ago: int


sequences = st.lists(
    st.builds(Taken, st.sampled_from(STEPS), st.sampled_from((0, 0, 0, 0, 1, 2))),
    min_size=4,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_the_row_says_what_the_sidecar_says(steps: Sequence[Taken]) -> None:
    asyncio.run(walk(steps))


async def walk(steps: Sequence[Taken]) -> None:
    pair = await Pair.made(description="first")
    await pair.pull()
    seen: list[Sidecar | None] = [None, pair.sidecar]
    for number, step in enumerate(steps):
        decided_on = seen[max(0, len(seen) - 1 - step.ago)]
        try:
            await take(pair, step.name, decided_on, number)
        except ArtStoreError:
            assert pair.sidecar == seen[-1]
        pair.agrees()
        seen.append(pair.sidecar)
        if pair.sidecar is not None and pair.sidecar.state is FileState.ACTIVE:
            assert pair.here.tables.file_count == 1
        else:
            assert pair.here.tables.file_count == 0


class Trouble(enum.Enum):
    """What befalls a step."""

    NONE = enum.auto()
    ROW_LOST_BEFORE = enum.auto()
    ROW_PUT_BACK = enum.auto()
    """By a read, after it was lost."""
    CUT_OFF = enum.auto()
    """Before its row; it is replayed."""
    CUT_OFF_AND_ROW_LOST = enum.auto()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(Trouble)), min_size=4, max_size=14)
)
def test_the_counters_are_what_a_recount_says_whatever_rows_are_lost(
    steps: Sequence[tuple[str, Trouble]],
) -> None:
    asyncio.run(walk_losing_rows(steps))


async def walk_losing_rows(steps: Sequence[tuple[str, Trouble]]) -> None:
    pair = await Pair.made(description="first")
    await pair.pull()
    for number, (name, trouble) in enumerate(steps):
        if trouble in (Trouble.ROW_LOST_BEFORE, Trouble.ROW_PUT_BACK):
            pair.here.tables.files.clear()
        if trouble is Trouble.ROW_PUT_BACK:
            await pair.here.lookup.find(pair.file_id)
        if trouble in (Trouble.CUT_OFF, Trouble.CUT_OFF_AND_ROW_LOST):
            for statement in ROW_STATEMENTS:
                pair.here.catalog.fail(statement, Unavailable("down"))
        with suppress(ArtStoreError):
            await take(pair, name, pair.sidecar, number)
        pair.here.catalog.mend()
        if trouble is Trouble.CUT_OFF_AND_ROW_LOST:
            pair.here.tables.files.clear()
        await pair.here.replay.all()
        sidecar, tables = pair.sidecar, pair.here.tables
        assert tables.intents == {}
        assert tables.file_count == (sidecar is not None and sidecar.state is FileState.ACTIVE)
        assert tables.used_bytes == len(pair.blob or b"")


async def take(pair: Pair, name: str, decided_on: Sidecar | None, number: int) -> Any:
    steps, step = pair.here.steps, pair.step(digest_of=decided_on)
    later = replace(pair.home, home_since=LATER + number, revision=number + 1, description="later")
    match name:
        case "pull a copy" | "pull it in":
            state = FileState.COPY if name == "pull a copy" else FileState.INCOMING
            # What is here may be later than the home there.
            pair.there.put_sidecar(later)
            return await pair.pull(state, step=step)
        case "mark moved":
            return await steps.moving.mark_moved(step, "se-01")
        case "activate":
            return await pair.activate(step, home_since=LATER + number + 1)
        case "activate a deleted one":
            since = LATER + number + 1
            return await pair.activate(step, home_since=since, state=FileState.DELETED)
        case "sync":
            return await steps.moving.sync(step, later)
        case "sync with a deleted one":
            return await steps.moving.sync(step, replace(later, state=FileState.DELETED))
        case "to gone":
            return await steps.collecting.to_gone(step, "se-01")
        case "to deleted":
            return await steps.collecting.to_deleted(step)
        case "to copy":
            return await steps.collecting.to_copy(step)
        case "purge":
            return await steps.collecting.purge(step)
        case "user's update":
            values = {"description": f"text {number}"}
            return await pair.here.changes.update(
                pair.file_id, values, ALICE, by=BY_ALICE, expected_revision=None
            )
        case "user's delete":
            return await pair.here.changes.delete(
                pair.file_id, ALICE, by=BY_ALICE, expected_revision=None
            )
        case _:
            pair.restarted()
            return await pair.here.replay.all()
