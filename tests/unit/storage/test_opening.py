"""The opening brings an element up, step by step, on a store and a catalog in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from mesh.errors import Unavailable
from storage_server.domain.modes import Mode
from storage_server.element.identity import ElementFile, encode
from storage_server.element.opening import Opening
from storage_server.element.phase import Phase
from storage_server.element.state import Element
from storage_server.store.port import Store
from tests.support.memory_store import Memory, MemoryStore

HERE = ElementFile("se-01", "0b8f4a5e-1c9f-4f43-9a1f-6f5f0c8e7d11", Mode.EDIT)


@dataclass
class FakeLock:
    """The writer's lock."""

    elsewhere: bool = False
    held: bool = False
    lost: bool = False

    async def acquire(self, store: Store) -> bool:
        await asyncio.sleep(0)
        self.held = not self.elsewhere
        self.lost = False
        return self.held

    async def check(self) -> None:
        return

    async def release(self) -> None:
        self.held = False


@dataclass
class FakeTables:
    """An element's tables: there or not, in a database that answers or not."""

    there: bool = False
    silent: bool = False
    made: int = 0

    @property
    def feed(self) -> FakeTables:
        return self

    async def head(self) -> None:
        self._require_answer()

    async def make_database(self) -> None:
        self._require_answer()

    async def is_known(self) -> bool:
        self._require_answer()
        return self.there

    async def is_there(self) -> bool:
        self._require_answer()
        return self.there

    async def open(self) -> None:
        self._require_answer()
        self.made += not self.there
        self.there = True

    def _require_answer(self) -> None:
        if self.silent:
            raise Unavailable("database artstore is not answering")


@dataclass
class Rig:
    """An element that is not up yet, and what its opening needs."""

    element: Element = field(default_factory=lambda: Element("se-01", Mode.EDIT))
    memory: Memory = field(default_factory=Memory)
    lock: FakeLock = field(default_factory=FakeLock)
    tables: FakeTables = field(default_factory=FakeTables)
    mounted: bool = True
    past: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)
    opening: Opening = field(init=False)

    def __post_init__(self) -> None:
        self.opening = Opening(
            self.element,
            open_store=self._open_store,
            writer=self.lock,
            catalog=cast("Any", self.tables),
            on_writing=self._on_writing,
            on_lost=self._on_lost,
        )

    async def phase(self) -> Phase:
        """After one more try of all steps."""
        await self.opening.advance()
        return self.element.phase

    async def _open_store(self) -> Store:
        await asyncio.sleep(0)
        if not self.mounted:
            raise Unavailable("the folder is not there")
        return MemoryStore(self.memory)

    async def _on_writing(self) -> None:
        await asyncio.sleep(0)
        self.past()
        self.calls.append("writing")

    async def _on_lost(self) -> None:
        self.calls.append("lost")


def unknown_past() -> None:
    raise Unavailable("open uploads cannot be read")


async def up() -> Rig:
    rig = Rig()
    assert await rig.phase() is Phase.WRITING
    rig.calls.clear()
    return rig


async def test_all_that_answers_is_up_at_once_and_is_told_of_once() -> None:
    rig = Rig()
    assert await rig.phase() is Phase.WRITING
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == ["writing"]
    assert rig.tables.made == 1
    assert rig.memory.files["element.json"]


async def test_without_a_store_the_tables_of_an_earlier_writer_are_answered() -> None:
    rig = Rig(mounted=False, tables=FakeTables(there=True))
    assert await rig.phase() is Phase.CLOSED
    rig.element.require_tables()
    with pytest.raises(Unavailable, match="the folder is not there"):
        rig.element.reading()
    rig.memory.put("element.json", encode(HERE))
    rig.mounted = True
    assert await rig.phase() is Phase.WRITING


async def test_a_known_element_without_its_file_stays_closed_and_lets_go_of_the_lock() -> None:
    rig = Rig(tables=FakeTables(there=True))
    assert await rig.phase() is Phase.CLOSED
    assert not rig.lock.held
    assert "element.json" in rig.element.problem


async def test_a_standby_reads_and_takes_over() -> None:
    rig = Rig(lock=FakeLock(elsewhere=True), tables=FakeTables(there=True))
    rig.memory.put("element.json", encode(HERE))
    assert await rig.phase() is Phase.READING
    assert not rig.element.is_writer
    rig.lock.elsewhere = False
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == ["writing"]


async def test_a_standby_waits_for_the_tables_and_makes_none() -> None:
    rig = Rig(lock=FakeLock(elsewhere=True))
    rig.memory.put("element.json", encode(HERE))
    assert await rig.phase() is Phase.OPEN
    assert rig.tables.made == 0
    rig.tables.there = True
    assert await rig.phase() is Phase.READING


async def test_while_the_database_is_silent_sidecars_are_read() -> None:
    rig = Rig(tables=FakeTables(silent=True))
    rig.memory.put("element.json", encode(HERE))
    assert await rig.phase() is Phase.OPEN
    assert rig.element.is_writer
    rig.tables.silent = False
    assert await rig.phase() is Phase.WRITING


async def test_a_database_that_falls_silent_costs_no_phase() -> None:
    rig = await up()
    rig.tables.silent = True
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == []


async def test_writes_wait_until_the_past_is_known() -> None:
    rig = Rig(past=unknown_past)
    for _ in range(2):
        assert await rig.phase() is Phase.READING
        assert rig.element.is_writer
    rig.past = lambda: None
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == ["writing"]


async def test_tables_that_are_gone_are_made_again_and_the_past_is_asked_for_again() -> None:
    rig = await up()
    rig.tables.there = False
    rig.past = unknown_past
    assert await rig.phase() is Phase.READING
    assert rig.tables.made == 2
    rig.past = lambda: None
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == ["writing"]


async def test_a_lost_lock_is_told_of_before_it_is_taken_again() -> None:
    rig = await up()
    rig.lock.lost = True
    assert await rig.phase() is Phase.WRITING
    assert rig.calls == ["lost", "writing"]
    rig.lock.lost = rig.lock.elsewhere = True
    assert await rig.phase() is Phase.READING
    assert rig.calls == ["lost", "writing", "lost"]
    assert not rig.element.is_writer


async def test_a_step_that_is_under_way_when_the_server_stops_moves_nothing() -> None:
    steps = 0
    while True:
        rig = Rig()
        rig.memory.put("element.json", encode(HERE))
        advancing = asyncio.ensure_future(rig.opening.advance())
        for _ in range(steps):
            await asyncio.sleep(0)
        ended = advancing.done()
        await rig.opening.close()
        await advancing
        assert rig.element.phase is Phase.CLOSED
        assert "the server is stopping" in rig.element.problem
        assert not rig.lock.held
        assert await rig.phase() is Phase.CLOSED
        if ended:
            break
        steps += 1
    assert steps > 2
