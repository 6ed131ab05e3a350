"""A file comes from another element: over what, with which bytes, and what is left of a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from mesh.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
)
from storage_server.domain.life import same_text
from storage_server.domain.modes import Mode
from storage_server.domain.naming import erased_sidecar_path
from storage_server.domain.sidecar import FileState
from storage_server.element.clock import Clock
from storage_server.files.erasing import Erasure
from storage_server.steps import arriving, pull
from storage_server.upkeep.sweep import Sweeper
from tests.support.memory_element import LONG_AGO, MemoryElement
from tests.support.memory_store import MemoryStore
from tests.unit.storage.stepping import BY_ADMIN, CONTENT, Pair, ticket_of

DOWN = Unavailable("the source is down")
COPY, INCOMING, GONE, MOVED = (
    FileState.COPY,
    FileState.INCOMING,
    FileState.GONE,
    FileState.MOVED,
)


@pytest.fixture
async def pair() -> Pair:
    return await Pair.made(description="of the user", request_id="r-1", attributes={"a": "b"})


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is put on record."""
    monkeypatch.setattr(arriving, "CHECKPOINT_BYTES", 1)


@pytest.mark.parametrize("state", [INCOMING, COPY])
async def test_what_is_pulled_is_the_file_with_all_that_its_home_says(
    pair: Pair, state: FileState
) -> None:
    view = await pair.pull(state)
    assert (view.sidecar.state, view.sidecar.revision) == (state, pair.home.revision)
    assert same_text(view.sidecar, pair.home)
    assert pair.blob == CONTENT
    assert pair.here.source.tickets == ["signed"]
    pair.agrees()
    (told,) = pair.here.tables.feed
    assert told.origin == BY_ADMIN


async def test_what_only_tools_wrote_comes_along(pair: Pair) -> None:
    pair.there.put_sidecar(replace(pair.home, unknown='"by_tool":1'))
    assert (await pair.pull()).sidecar.unknown == '"by_tool":1'


async def test_it_comes_over_a_stub_and_counts_once(pair: Pair) -> None:
    await pair.settled(GONE, moved_to="se-01", description="")
    view = await pair.pull(COPY)
    assert same_text(view.sidecar, pair.home)
    assert pair.blob == CONTENT
    pair.agrees()


async def test_bytes_that_a_stub_still_has_are_replaced(pair: Pair) -> None:
    await pair.settled(GONE, moved_to="se-01")
    pair.here.memory.put(pair.path, b"rotten")
    await pair.pull()
    assert pair.blob == CONTENT
    pair.agrees()


async def test_no_bytes_go_when_it_comes_back_to_where_it_was_moved_from(pair: Pair) -> None:
    await pair.settled(MOVED, moved_to="se-01", description="older")
    pair.there.put_sidecar(replace(pair.home, home_since=LATER_THAN_ITS_ID, description="newer"))
    view = await pair.pull()
    assert (view.sidecar.state, view.sidecar.description) == (INCOMING, "newer")
    assert pair.here.source.calls.made == ["source.reading"]
    pair.agrees()


LATER_THAN_ITS_ID = 3_000_000_000_000


async def test_bytes_that_rotted_where_it_was_moved_from_are_found(pair: Pair) -> None:
    await pair.settled(MOVED, moved_to="se-01")
    pair.here.memory.put(pair.path, b"some bYtes")
    with pytest.raises(DataLoss):
        await pair.pull()
    assert pair.sidecar is not None
    assert pair.sidecar.state is MOVED


async def test_what_was_the_home_here_later_is_not_pulled_over(pair: Pair) -> None:
    await pair.settled(MOVED, moved_to="se-01", home_since=LATER_THAN_ITS_ID)
    with pytest.raises(FailedPrecondition):
        await pair.pull()


@pytest.mark.parametrize("state", [FileState.ACTIVE, FileState.DELETED])
async def test_a_home_is_not_pulled_over(pair: Pair, state: FileState) -> None:
    await pair.settled(state)
    with pytest.raises(FailedPrecondition) as refused:
        await pair.pull()
    assert refused.value.reason == "FILE_STATE"
    assert pair.here.source.tickets == []


@pytest.mark.parametrize(("here", "wanted"), [(INCOMING, INCOMING), (COPY, COPY), (COPY, INCOMING)])
async def test_what_is_here_already_is_answered_in_every_mode_and_whatever_the_digest(
    pair: Pair, here: FileState, wanted: FileState
) -> None:
    await pair.pull(here)
    before = pair.sidecar
    pair.here.element.mode = Mode.AR
    pair.here.source.tickets.clear()
    view = await pair.pull(wanted, step=pair.step(digest_of=None))
    assert (view.sidecar, pair.sidecar) == (before, before)
    assert view.sequence
    assert pair.here.source.tickets == []


async def test_what_came_as_incoming_does_not_become_a_copy_by_a_pull(pair: Pair) -> None:
    await pair.pull(INCOMING)
    with pytest.raises(FailedPrecondition):
        await pair.pull(COPY)


async def test_a_copy_without_its_bytes_is_no_copy(pair: Pair) -> None:
    await pair.pull(COPY)
    del pair.here.memory.files[pair.path]
    with pytest.raises(DataLoss):
        await pair.pull(COPY)


async def test_damage_here_is_told_by_id_and_element_alone(pair: Pair) -> None:
    await pair.settled(MOVED, moved_to="se-01")

    def short(path: str, **_: Any) -> Any:
        async def chunks() -> AsyncIterator[bytes]:
            raise DataLoss(f"{path}: the bytes end at 3", reason="BLOB_SHORT")
            yield b""

        return chunks()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "read_blob", lambda _, path, **rest: short(path, **rest))
        with pytest.raises(DataLoss) as damage:
            await pair.pull()
    assert damage.value.message == f"the bytes of {pair.file_id} are missing or damaged at se-01"
    assert damage.value.reason == "BLOB_SHORT"


async def test_it_is_refused_on_another_sidecar_and_when_it_is_stale(pair: Pair) -> None:
    stub = await pair.settled(GONE, moved_to="se-01")
    for seen in (None, replace(stub, moved_to="se-03")):
        with pytest.raises(Aborted) as other:
            await pair.pull(step=pair.step(digest_of=seen))
        assert other.value.reason == "REVISION_CONFLICT"
    for age in (61, -6):
        with pytest.raises(Aborted) as stale:
            await pair.pull(step=pair.step(age=age))
        assert stale.value.reason == "STALE"
    assert pair.here.source.tickets == []


async def test_a_decision_that_ended_while_the_bytes_came_makes_no_file(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = pair.step()
    with monkeypatch.context() as later:
        asked = iter([0.0])
        later.setattr(Clock, "agreed", lambda _: time.time() + next(asked, 61.0))
        with pytest.raises(Aborted) as stale:
            await pair.pull(step=step)
    assert stale.value.reason == "STALE"
    assert pair.sidecar is None
    await pair.pull()
    assert pair.blob == CONTENT
    pair.agrees()


@pytest.mark.parametrize("mode", [Mode.RO, Mode.AR])
async def test_only_a_mode_that_creates_takes_a_file(pair: Pair, mode: Mode) -> None:
    pair.here.element.mode = mode
    with pytest.raises(FailedPrecondition) as refused:
        await pair.pull()
    assert refused.value.reason == "MODE"


async def test_there_must_be_room_and_what_is_reserved_is_given_back(pair: Pair) -> None:
    pair.here = MemoryElement(capacity_bytes=8, source=pair.here.source)
    with pytest.raises(ResourceExhausted):
        await pair.pull()
    assert pair.here.tables.pulls == {}
    assert pair.here.space.reserved_bytes == 0


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "0" * 64}, {"size_bytes": 9}, {"crc32c": 1}, {"namespace": "theirs"}],
    ids="-".join,
)
async def test_a_source_that_has_other_bytes_or_another_namespace_than_the_ticket_gives_none(
    pair: Pair, changes: dict[str, Any]
) -> None:
    with pytest.raises(DataLoss):
        await pair.pull(ticket=ticket_of(pair.home, **changes))
    assert pair.here.paths() == set()
    pair.agrees()


@pytest.mark.parametrize("rotten", [b"some bytez", b"some bytes and more"])
async def test_bytes_that_differ_leave_nothing(pair: Pair, rotten: bytes) -> None:
    pair.there.memory.put(pair.path, rotten)
    with pytest.raises(DataLoss):
        await pair.pull()
    pair.here.calls.mend()
    assert pair.sidecar is None
    assert pair.here.tables.files == {}
    if rotten[:10] != CONTENT:
        assert pair.here.paths() == set()
        pair.agrees()


@pytest.mark.usefixtures("often")
async def test_it_goes_on_where_the_source_broke_off(pair: Pair) -> None:
    await pair.broken_off(after=3)
    pair.here.source.calls.mend()
    pair.here.source.calls.made.clear()
    assert (await pair.pull()).sidecar.sha256 == pair.home.sha256
    # Four of ten bytes were here: three pieces of two, and the end.
    assert pair.here.source.calls.made == ["source.reading", *["source.next"] * 4]
    pair.agrees()


@pytest.mark.usefixtures("often")
async def test_it_goes_on_after_a_start_and_is_no_leftover_to_the_sweeper(pair: Pair) -> None:
    await pair.broken_off(after=3)
    pair.restarted()
    here = pair.here
    await here.steps.keeping.take_over()
    assert here.space.reserved_bytes == len(CONTENT)
    sweeper = Sweeper(
        here.element,
        here.catalog,  # type: ignore[arg-type]
        here.file_locks,
        here.steps.keeping,
        running=frozenset,
    )
    assert await sweeper.sweep(grace_seconds=0) == 0
    here.source.calls.mend()
    here.source.calls.made.clear()
    await pair.pull()
    assert here.source.calls.made == ["source.reading", *["source.next"] * 4]
    pair.agrees()


@pytest.mark.usefixtures("often")
async def test_what_the_store_lost_is_read_again(pair: Pair) -> None:
    await pair.broken_off(after=3)
    pair.here.memory.stages.clear()
    pair.restarted()
    pair.here.source.calls.mend()
    assert (await pair.pull()).sidecar.sha256 == pair.home.sha256
    pair.agrees()


@pytest.mark.usefixtures("often")
async def test_what_nobody_asks_for_is_dropped_after_a_while(pair: Pair) -> None:
    await pair.broken_off(after=3)
    here = pair.here
    await here.steps.keeping.tidy()
    assert pair.file_id in here.tables.pulls
    for file_id, row in here.tables.pulls.items():
        here.tables.pulls[file_id] = replace(row, touched_at=LONG_AGO)
    await here.steps.keeping.tidy()
    assert here.paths() == set()
    assert here.space.reserved_bytes == 0
    pair.agrees()


@pytest.mark.usefixtures("often")
async def test_two_who_ask_get_the_one_file(pair: Pair) -> None:
    first, second = await asyncio.gather(pair.pull(), pair.pull())
    assert first.sidecar == second.sidecar
    assert pair.here.source.calls.made.count("source.reading") == 1
    pair.agrees()


async def test_one_who_wants_something_else_meanwhile_is_told_so(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    first = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    with pytest.raises(Aborted):
        await pair.pull(COPY)
    pause.go.set()
    assert (await first).sidecar.state is INCOMING


async def test_it_goes_on_when_its_caller_leaves(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    caller = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    caller.cancel()
    await asyncio.wait({caller})
    again = asyncio.create_task(pair.pull())
    await asyncio.sleep(0)
    pause.go.set()
    assert (await again).sidecar.state is INCOMING
    assert pair.here.source.calls.made.count("source.reading") == 1


async def test_without_anybody_it_ends_and_keeps_what_came(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = pair.here.source.calls.pause("source.next")
    caller = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    caller.cancel()
    await asyncio.wait({caller})
    monkeypatch.setattr(pull, "ABANDONED_SECONDS", -1.0)
    flight = pair.here.steps.pulling._flights.get(pair.file_id)
    assert flight is not None
    pause.go.set()
    with pytest.raises(Aborted):
        await flight
    assert pair.sidecar is None
    monkeypatch.undo()
    assert (await pair.pull()).sidecar.state is INCOMING
    pair.agrees()


async def test_a_delete_during_the_pull_does_not_hurt_it(pair: Pair) -> None:
    """The home is deleted: what came stays INCOMING until admin has looked."""
    pause = pair.here.source.calls.pause("source.next")
    coming = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    pair.there.put_sidecar(replace(pair.home, state=FileState.DELETED, revision=2))
    pause.go.set()
    assert (await coming).sidecar.state is INCOMING


async def test_something_else_that_came_meanwhile_is_not_written_over(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    coming = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    erased = pair.put(GONE, moved_to="se-03")
    pause.go.set()
    with pytest.raises(Aborted):
        await coming
    assert pair.sidecar == erased


@pytest.mark.parametrize("at", ["source.reading", "source.next", "stage.seal", "stage.place"])
async def test_nothing_stays_of_a_pull_whose_file_is_erased_meanwhile(
    pair: Pair, often: None, at: str
) -> None:
    calls = pair.here.source.calls if at.startswith("source") else pair.here.calls
    pause = calls.pause(at)
    coming = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    erasing = asyncio.create_task(pair.here.erasing.erase(Erasure(pair.file_id, BY_ADMIN)))
    if at != "stage.place":
        # From there on it has the file's lock, and the erasure waits.
        await erasing
    pause.go.set()
    await asyncio.wait({coming, erasing})
    assert (coming.exception() is None) is (at == "stage.place")
    await erasing
    assert pair.here.paths() == {erased_sidecar_path(pair.file_id)}
    assert not pair.here.tables.pulls
    assert not pair.here.memory.stages


async def test_an_element_that_lets_go_ends_it(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    coming = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    await pair.here.steps.keeping.let_go()
    with pytest.raises(Unavailable):
        await coming
    assert pair.file_id in pair.here.tables.pulls


async def test_a_lost_answer_of_the_database_is_found_by_the_repeat(pair: Pair) -> None:
    pair.here.catalog.fail("writes.commit_row", Unavailable("gone"))
    with pytest.raises(Unavailable):
        await pair.pull()
    pair.here.catalog.mend()
    pair.here.source.tickets.clear()
    view = await pair.pull(step=pair.step(digest_of=None))
    assert view.sidecar.state is INCOMING
    assert pair.here.source.tickets == []
    pair.agrees()


async def test_an_empty_file_comes_too() -> None:
    pair = await Pair.made(b"")
    assert (await pair.pull()).sidecar.size_bytes == 0
    assert pair.blob == b""


async def test_a_name_that_may_be_another_files_here_is_not_taken(pair: Pair) -> None:
    """As an adopted store has them: without the id."""
    sidecar = replace(pair.home, storage_filename="report.pdf")
    pair.there.memory.files.clear()
    pair.there.memory.put(f"{sidecar.storage_path}/report.pdf", CONTENT)
    pair.there.put_sidecar(sidecar)
    (path,) = [one for one in pair.there.memory.files if one.endswith(".json")]
    pair.there.memory.files[path.replace("report.pdf", f"{pair.file_id}.pdf")] = (
        pair.there.memory.files.pop(path)
    )
    pair.there.memory.put(f"{sidecar.storage_path}/report.pdf", CONTENT)
    view = await pair.pull()
    assert pair.file_id in view.sidecar.storage_filename
    assert view.sidecar.storage_filename.startswith("report_alice_")


async def test_nothing_is_pulled_over_a_file_whose_row_was_lost() -> None:
    pair = await Pair.adopted()
    await pair.pull()
    before = (await pair.activate()).sidecar
    pair.here.tables.files.clear()
    pair.here.tables.complete = False
    with pytest.raises(Unavailable):
        await pair.pull(step=pair.step(digest_of=None))
    assert (pair.sidecar, pair.blob) == (before, CONTENT)


async def test_a_file_whose_row_is_still_to_come_is_looked_for_again() -> None:
    pair = await Pair.adopted()
    pair.here.catalog.fail("writes.commit_row", DOWN)
    with pytest.raises(Unavailable):
        await pair.pull()
    pair.restarted()
    pair.here.tables.pulls.clear()
    with pytest.raises(Aborted) as refused:
        await pair.pull(step=pair.step(digest_of=None))
    assert refused.value.reason == "REVISION_CONFLICT"
    await pair.pull()
    pair.agrees()


async def test_a_live_file_of_another_kind_of_id_keeps_its_bytes_when_its_pull_is_tidied() -> None:
    for tidied in (True, False):
        pair = await Pair.adopted()
        pair.here.catalog.fail("pulls.delete", DOWN)
        await pair.pull()
        assert pair.file_id in pair.here.tables.pulls
        pair.restarted()
        if tidied:
            await pair.here.steps.keeping.tidy()
        else:
            await pair.pull()
        assert pair.blob == CONTENT
        pair.agrees()
