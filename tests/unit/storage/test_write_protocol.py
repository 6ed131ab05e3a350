"""What each failure of a write leaves in store and tables, and what its caller gets.

The write is that of an upload or of a change, on a store and on tables in memory. Whatever it
leaves, the replay makes right afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from mesh.errors import (
    Aborted,
    ArtStoreError,
    DataLoss,
    ResourceExhausted,
    StoreReadOnly,
    Unavailable,
)
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import blob_path, sidecar_path
from storage_server.domain.origin import OF_REPAIR, Origin
from storage_server.domain.sidecar import Sidecar, encode
from storage_server.sidecars.locate import locate
from storage_server.uploads.commit import make_file
from storage_server.writing.protocol import Step
from storage_server.writing.recording import SidecarUncertain
from storage_server.writing.view import FileView
from tests.support.memory_element import MemoryElement
from tests.support.origins import BY_ALICE, BY_BOB
from tests.support.sidecars import a_sidecar

ELEMENT = "storage-elem-01"
BYTES = b"bytes"

# What is done before the caller hears of it, and what is asked for.
DONE, ASKED = "done", "asked"


@dataclass(frozen=True)
class Trouble:
    """`error` comes instead of a call (ASKED), or instead of its answer (DONE)."""

    call: str
    error: BaseException
    when: str = ASKED
    times: int = 1


class Troubles:
    """The calls of a write by name, in their order, and what goes wrong with them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.planned: list[Trouble] = []
        self._met: Counter[Trouble] = Counter()

    async def before(self, call: str) -> None:
        self.calls.append(call)
        self._raise(call, ASKED)

    async def after(self, call: str) -> None:
        self._raise(call, DONE)

    def _raise(self, call: str, when: str) -> None:
        if call == LOOK and SIDECAR not in self.calls:
            # A change looks before it writes as well.
            return
        for trouble in self.planned:
            if (trouble.call, trouble.when) == (call, when) and self._met[trouble] < trouble.times:
                self._met[trouble] += 1
                raise trouble.error


class World:
    """An element in memory, and one file of it."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self.element = MemoryElement()
        self.writing = self.element.writing
        self.store = self.element.element.reading()
        draft = a_sidecar(request_id="request")
        name = f"a_b_20260102T030405_{draft.file_id}.pdf"
        self.draft = replace(draft, storage_filename=name)

    def plan(self, troubles: Sequence[Trouble]) -> None:
        """From here on calls go wrong."""
        self.troubles.calls.clear()
        self.troubles.planned = list(troubles)
        for calls in (self.element.calls, self.element.catalog):
            calls.before, calls.after = self.troubles.before, self.troubles.after

    async def upload(self) -> FileView:
        """As an upload in one stream does it."""
        path = blob_path(self.draft.storage_path, self.draft.storage_filename)
        stage = await self.store.open_stage(path, key=self.draft.file_id)
        await stage.write(b"bytes")
        async with self.writing.begin(self.draft, ChangeKind.CREATED, by=BY_ALICE) as write:
            try:
                await make_file(write, stage, self.draft, lambda _: None, deadline=None)
            except SidecarUncertain:
                raise
            except ArtStoreError:
                try:
                    await stage.discard()
                except ArtStoreError:
                    write.strands_blob()
                raise
            return await write.row()

    async def update(self) -> FileView:
        """As a change does it."""
        async with self.writing.hold(self.draft.file_id) as held:
            there = await locate(self.store, self.draft.file_id)
            assert there is not None
            changed = replace(there.sidecar, revision=2, description="new")
            begun = held.begin(self.store, changed, ChangeKind.UPDATED, by=BY_BOB, over=there)
            async with begun as write:
                await write.sidecar(changed)
                return await write.row()

    @property
    def sidecar(self) -> bytes | None:
        path = sidecar_path(self.draft.storage_path, self.draft.storage_filename)
        found = self.element.memory.files.get(path)
        return None if found is None else found[0]

    @property
    def blob(self) -> bool:
        path = blob_path(self.draft.storage_path, self.draft.storage_filename)
        return path in self.element.memory.files

    @property
    def row(self) -> Sidecar | None:
        found = self.element.tables.files.get(self.draft.file_id)
        return None if found is None else found.sidecar

    @property
    def intents(self) -> list[int]:
        return sorted(self.element.tables.intents)


@dataclass(frozen=True)
class Case:
    """Troubles of a write, and how it ends.

    Attributes:
        error: what the caller gets, None for the file.
        intent: `none`, `stays`, or `renewed`: another one than the write began with.
        left: what there is of `blob`, `sidecar` (the new one) and `row` (that of the new one).
    """

    troubles: tuple[Trouble, ...]
    error: type[BaseException] | None
    intent: str
    left: str = ""
    reason: str = ""
    conditional_put: bool = True


def down() -> Unavailable:
    return Unavailable("nothing answers", reason="STORAGE_DOWN")


def refused() -> StoreReadOnly:
    return StoreReadOnly("the store takes no writes")


def full() -> ResourceExhausted:
    return ResourceExhausted("the disk is full", reason="STORAGE_FULL")


def conflict() -> Aborted:
    return Aborted("changed meanwhile", reason="REVISION_CONFLICT")


def at(call: str, error: BaseException, when: str = ASKED, times: int = 1) -> Trouble:
    return Trouble(call, error, when, times)


INTENT, SIDECAR, ROW = "pending.begin_write", "write_sidecar", "writes.commit_row"
LOOK, SEAL, PLACE = "read_sidecar", "stage.seal", "stage.place"
CUT = asyncio.CancelledError
FILE = "blob sidecar row"

# Of a write of any kind. `left` names what the write itself adds.
SHARED = {
    "nothing goes wrong": Case((), None, "none", FILE),
    "the intent is refused": Case((at(INTENT, down()),), Unavailable, "none"),
    "the intent's answer is lost": Case((at(INTENT, down(), DONE),), Unavailable, "stays"),
    "cut off at its intent": Case((at(INTENT, CUT(), DONE),), CUT, "stays"),
    "the sidecar's answer is lost": Case((at(SIDECAR, down(), DONE),), None, "none", FILE),
    "the store refuses after its work": Case((at(SIDECAR, refused(), DONE),), None, "none", FILE),
    "the store is full after its work": Case((at(SIDECAR, full(), DONE),), None, "none", FILE),
    "a repeat meets its own work": Case((at(SIDECAR, conflict(), DONE),), None, "none", FILE),
    "the store refuses": Case((at(SIDECAR, refused()),), StoreReadOnly, "none"),
    "the store is full": Case((at(SIDECAR, full()),), ResourceExhausted, "none"),
    "somebody else was first": Case((at(SIDECAR, conflict()),), Aborted, "none"),
    "somebody else was first, and nobody can look": Case(
        (at(SIDECAR, conflict()), at(LOOK, down())), Aborted, "none"
    ),
    "the store refuses, and its intent cannot be ended": Case(
        (at(SIDECAR, refused()), at("pending.end_pending", down())), StoreReadOnly, "stays"
    ),
    "the sidecar is not heard of": Case(
        (at(SIDECAR, down()),), SidecarUncertain, "stays", "blob", "STORAGE_DOWN"
    ),
    "the sidecar is there, and nobody can look": Case(
        (at(SIDECAR, down(), DONE), at(LOOK, down())), SidecarUncertain, "stays", "blob sidecar"
    ),
    "the store refuses, and nobody can look": Case(
        (at(SIDECAR, refused()), at(LOOK, down())), SidecarUncertain, "stays", "blob"
    ),
    "cut off before its sidecar": Case((at(SIDECAR, CUT()),), CUT, "stays", "blob"),
    "cut off after its sidecar": Case((at(SIDECAR, CUT(), DONE),), CUT, "stays", "blob sidecar"),
    "a mistake of ours": Case((at(SIDECAR, KeyError("x")),), KeyError, "stays", "blob"),
    "the row is refused once": Case((at(ROW, down()),), None, "none", FILE),
    "the row's answer is lost once": Case((at(ROW, down(), DONE),), None, "none", FILE),
    "the row waits": Case(
        (at(ROW, down(), times=2),), Unavailable, "stays", "blob sidecar", "ROW_PENDING"
    ),
    "nobody knows of the row": Case(
        (at(ROW, down(), DONE, times=2),), Unavailable, "none", FILE, "ROW_PENDING"
    ),
    "cut off before its row": Case((at(ROW, CUT()),), CUT, "stays", "blob sidecar"),
    "cut off after its row": Case((at(ROW, CUT(), DONE),), CUT, "none", FILE),
}
UPLOADS = SHARED | {
    "the bytes differ": Case((at(SEAL, DataLoss("other bytes")),), DataLoss, "none"),
    "the bytes are sealed by a silent store": Case((at(SEAL, down()),), Unavailable, "renewed"),
    "a silent store, and no renewing": Case(
        (at(SEAL, down()), at(INTENT, down(), DONE, times=2)), Unavailable, "stays"
    ),
    "cut off while it seals": Case((at(SEAL, CUT()),), CUT, "stays"),
    "the blob is refused": Case((at(PLACE, refused()),), StoreReadOnly, "none"),
    "the blob is placed unheard": Case((at(PLACE, down(), DONE),), Unavailable, "renewed"),
    "the blob cannot be taken back": Case(
        (at(SIDECAR, refused()), at("stage.discard", down())), StoreReadOnly, "stays", "blob"
    ),
    "cut off before the blob is placed": Case((at(PLACE, CUT()),), CUT, "stays"),
    "not the writer any more": Case(
        (at("writer.check", down()),), Unavailable, "renewed", conditional_put=False
    ),
}
CHANGES = SHARED | {
    "not the writer any more": Case(
        (at("writer.check", down()),), Unavailable, "none", conditional_put=False
    ),
}


async def ended(world: World, write: Callable[[], Any], case: Case) -> None:
    """Run the write, and hold its end to the case."""
    world.plan(case.troubles)
    world.store.conditional_put = case.conditional_put
    first = next(world.element.tables.pending_ids) + 1
    if case.error is None:
        view = await write()
        assert view.sidecar == world.row
    else:
        with pytest.raises(case.error) as error:
            await write()
        if case.reason:
            assert isinstance(error.value, ArtStoreError)
            assert error.value.reason == case.reason
    assert len(world.element.file_locks) == 0
    assert {"none": [], "stays": [first], "renewed": [first + 1]}[case.intent] == world.intents


async def replayed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can land any more: what was left is made right."""
    world.plan(())
    monkeypatch.setattr("storage_server.writing.replay.LANDING_TIME", timedelta(0))
    await world.element.replay.all()
    assert world.intents == []
    if world.sidecar is None:
        assert (world.row, world.blob) == (None, False)
    else:
        assert world.row is not None
        assert (encode(world.row), world.blob) == (world.sidecar, True)
    assert await told(world) == ([] if world.row is None else MADE[: world.row.revision])


MADE = [(1, BY_ALICE), (2, BY_BOB)]


async def told(world: World) -> list[tuple[int | None, Origin | None]]:
    """What the feed tells of changes that somebody made, and who that was."""
    changes = await world.element.catalog.feed.read(0)
    return [(one.revision, one.origin) for one in changes if one.origin != OF_REPAIR]


@pytest.mark.parametrize("name", UPLOADS)
async def test_an_upload_leaves_what_the_protocol_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, world = UPLOADS[name], World()
    await ended(world, world.upload, case)
    there = {"blob": world.blob, "sidecar": world.sidecar, "row": world.row}
    assert {what for what, is_there in there.items() if is_there} == set(case.left.split())
    await replayed(world, monkeypatch)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_leaves_what_the_protocol_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, world = CHANGES[name], World()
    await world.upload()
    old = world.sidecar
    await ended(world, world.update, case)
    assert world.blob
    assert (world.sidecar != old) is ("sidecar" in case.left)
    assert (world.row is not None and world.row.revision == 2) is ("row" in case.left)
    await replayed(world, monkeypatch)


@pytest.mark.parametrize("what", ["upload", "update"])
async def test_a_write_takes_the_steps_that_the_model_walks(what: str) -> None:
    world = World()
    if what == "update":
        await world.upload()
    world.plan(())
    await getattr(world, what)()
    steps = {INTENT: Step.INTENT, SIDECAR: Step.SIDECAR, ROW: Step.ROW}
    assert [steps[call] for call in world.troubles.calls if call in steps] == list(Step)
    if what == "upload":
        order = [INTENT, SEAL, PLACE, SIDECAR, ROW]
        assert [call for call in world.troubles.calls if call in order] == order


@pytest.mark.parametrize("what", ["begin", "hold", "leave_to_replay"])
async def test_a_file_is_written_by_one_at_a_time(what: str) -> None:
    world = World()
    async with world.writing.begin(world.draft, ChangeKind.CREATED, by=BY_ALICE):
        assert world.writing.is_held(world.draft.file_id)
        second = asyncio.ensure_future(_enter(world, what))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not second.done()
    await asyncio.wait_for(second, 1)
    assert not world.writing.is_held(world.draft.file_id)


async def _enter(world: World, what: str) -> None:
    if what == "begin":
        async with world.writing.begin(world.draft, ChangeKind.CREATED, by=BY_ALICE):
            return
    if what == "hold":
        async with world.writing.hold(world.draft.file_id):
            return
    await world.writing.leave_to_replay(world.draft)


async def test_a_write_that_wrote_nothing_ends_its_intent() -> None:
    world = World()
    async with world.writing.begin(world.draft, ChangeKind.CREATED, by=BY_ALICE):
        assert world.intents
    assert world.intents == []


async def test_a_blob_left_to_the_replay_has_an_intent() -> None:
    world = World()
    await world.writing.leave_to_replay(world.draft)
    (intent,) = world.element.tables.intents.values()
    assert (intent.file_id, intent.kind) == (world.draft.file_id, ChangeKind.CREATED)
    assert intent.request_id == "request"


async def test_a_row_never_comes_before_its_sidecar() -> None:
    world = World()
    with pytest.raises(RuntimeError):
        async with world.writing.begin(world.draft, ChangeKind.CREATED, by=BY_ALICE) as write:
            await write.row()
    assert world.row is None
