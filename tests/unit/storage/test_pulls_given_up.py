"""A pull that nobody goes on with: its transfer was cancelled, or its file is no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.errors import Aborted, Unavailable
from storage_server.domain.sidecar import FileState
from storage_server.steps import arriving
from tests.unit.storage.stepping import CONTENT, Pair

pytestmark = pytest.mark.usefixtures("often")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is put on record."""
    monkeypatch.setattr(arriving, "CHECKPOINT_BYTES", 1)


@pytest.fixture
async def pair() -> Pair:
    return await Pair.made()


@pytest.mark.parametrize("over", ["nothing", "a stub"])
async def test_nothing_stays_of_it_and_its_room_is_free_at_once(pair: Pair, over: str) -> None:
    if over == "a stub":
        await pair.settled(FileState.GONE, moved_to="se-01")
    before = pair.here.paths()
    await pair.broken_off(after=3)
    assert pair.here.space.reserved_bytes == len(CONTENT)
    assert await pair.give_up() == 4
    assert pair.here.paths() == before
    assert pair.here.space.reserved_bytes == 0
    pair.agrees()
    # Told twice, and by somebody who knows of none.
    assert await pair.give_up() == 0


async def test_one_that_is_under_way_ends_soon_and_goes_then(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    caller = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    caller.cancel()
    await asyncio.wait({caller})
    with pytest.raises(Unavailable):
        await pair.give_up()
    flight = pair.here.steps.pulling._flights.get(pair.file_id)
    assert flight is not None
    pause.go.set()
    with pytest.raises(Aborted):
        await flight
    await pair.give_up()
    assert pair.here.paths() == set()
    pair.agrees()


async def test_one_that_somebody_waits_for_goes_on(pair: Pair) -> None:
    pause = pair.here.source.calls.pause("source.next")
    coming = asyncio.create_task(pair.pull())
    await pause.reached.wait()
    with pytest.raises(Unavailable):
        await pair.give_up()
    pause.go.set()
    assert (await coming).sidecar.state is FileState.INCOMING
    pair.agrees()


async def test_what_has_come_since_it_was_decided_stays(pair: Pair) -> None:
    late = pair.step()
    await pair.pull()
    with pytest.raises(Aborted) as refused:
        await pair.give_up(late)
    assert refused.value.reason == "REVISION_CONFLICT"
    assert pair.blob == CONTENT
    pair.agrees()


@pytest.mark.parametrize("pieces", [0, 2])
async def test_one_that_has_brought_nothing_gives_its_room_back_soon(
    pair: Pair, pieces: int
) -> None:
    """Its transfer has failed, and may be tried again some day."""
    await pair.broken_off(after=pieces + 1)
    here = pair.here
    for file_id, row in here.tables.pulls.items():
        an_hour_ago = row.touched_at - timedelta(hours=1)
        here.tables.pulls[file_id] = replace(row, touched_at=an_hour_ago)
    await here.steps.keeping.tidy()
    assert bool(here.tables.pulls) == bool(pieces)
    assert here.space.reserved_bytes == (len(CONTENT) if pieces else 0)
    here.source.calls.mend()
    await pair.pull()
    pair.agrees()


async def test_bytes_whose_sidecar_may_still_come_stay(pair: Pair) -> None:
    silent = Unavailable("the store is silent", reason="STORAGE_DOWN")
    pair.here.calls.fail("write_sidecar", silent)
    pair.here.calls.fail("read_sidecar", silent)
    with pytest.raises(Unavailable):
        await pair.pull()
    pair.here.calls.mend()
    with pytest.raises(Unavailable):
        await pair.give_up()
    assert pair.blob == CONTENT
