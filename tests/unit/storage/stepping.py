"""Two elements in memory, a file of one of them, and the steps that admin takes on it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.errors import Aborted, Unavailable
from mesh.identity.tickets import Ticket
from storage_server.domain.freshness import Freshness
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.life import HAVE_BYTES, home_since_of
from storage_server.domain.naming import blob_path
from storage_server.domain.origin import Cause, Origin
from storage_server.domain.sidecar import FileState, Sidecar, digest
from storage_server.element.clock import Clock
from storage_server.steps.pull import Order
from storage_server.steps.taking import Decided
from storage_server.writing.view import FileView
from tests.support.memory_element import MemoryElement, MemorySource

CONTENT = b"some bytes"
BY_ADMIN = Origin(Cause.TRANSFER, "admin", "call-9")
HERE, THERE = "se-02", "se-01"
LATER = 4_000_000_000_000


def ticket_of(sidecar: Sidecar, **changes: Any) -> Ticket:
    ticket = Ticket(
        file_id=sidecar.file_id,
        sha256=sidecar.sha256,
        size_bytes=sidecar.size_bytes,
        crc32c=sidecar.crc32c,
        namespace=sidecar.namespace,
        source=THERE,
        target=HERE,
        account="storage-se-02",
    )
    return replace(ticket, **changes)


class Pair:
    """The element `here`, on which steps are taken, and `there`, where the file is.

    Attributes:
        home: the file there, as it was uploaded.
    """

    def __init__(self, here: MemoryElement, there: MemoryElement, home: Sidecar) -> None:
        self.here = here
        self.there = there
        self.home = home
        here.source.elements[THERE] = there

    @classmethod
    async def made(cls, content: bytes = CONTENT, **header: Any) -> Pair:
        there = MemoryElement()
        view = await there.upload(content, **header)
        return cls(MemoryElement(source=MemorySource()), there, view.sidecar)

    @classmethod
    async def adopted(cls) -> Pair:
        """Of a file whose id is of another kind: its folder is not in it."""
        there = MemoryElement()
        was = (await there.upload(CONTENT)).sidecar
        file_id = str(uuid.uuid4())
        name = was.storage_filename.replace(was.file_id, file_id)
        home = replace(was, file_id=file_id, storage_filename=name)
        there.memory.files.clear()
        there.put_sidecar(home)
        there.memory.put(blob_path(home.storage_path, name), CONTENT)
        return cls(MemoryElement(source=MemorySource()), there, home)

    def restarted(self) -> None:
        """The next process of the element here."""
        self.here = MemoryElement(self.here.memory, self.here.tables, source=self.here.source)

    # --- what is here ------------------------------------------------------------------

    @property
    def file_id(self) -> str:
        return self.home.file_id

    @property
    def path(self) -> str:
        """Of the blob, on both elements."""
        return blob_path(self.home.storage_path, self.home.storage_filename)

    @property
    def sidecar(self) -> Sidecar | None:
        found = [one for one in self.here.memory.files if one == f"{self.path}.attr.json"]
        return self.here.sidecar(self.file_id) if found else None

    @property
    def blob(self) -> bytes | None:
        found = self.here.memory.files.get(self.path)
        return None if found is None else found[0]

    def put(self, state: FileState, **changes: Any) -> Sidecar:
        """The file here, row and bytes too, as if it had come to be so."""
        sidecar = replace(self.home, state=state, **changes)
        self.here.put_sidecar(sidecar)
        if state in HAVE_BYTES or state is FileState.DELETED:
            self.here.memory.put(self.path, self.there.memory.files[self.path][0])
        return sidecar

    async def settled(self, state: FileState, **changes: Any) -> Sidecar:
        """`put`, with its row."""
        sidecar = self.put(state, **changes)
        found = await self.here.lookup.find(self.file_id)
        assert found is not None
        if self.here.row(self.file_id) is None:
            # A tombstone gets its row from a repair.
            async with self.here.writing.hold(self.file_id) as held:
                store = self.here.element.writing()
                read = await self.here.steps.moving.taking.look(store, held, self.file_id)
                assert read is not None
                await held.row(read, ChangeKind.CREATED, blob_present=self.blob is not None)
        self.here.tables.used_bytes = len(self.blob or b"")
        return sidecar

    # --- steps ---------------------------------------------------------------------------

    def step(self, *, digest_of: Sidecar | str | None = "", age: float = 0.0) -> Decided:
        """Decided on the sidecar that is here, unless another one is given."""
        seen = self.sidecar if digest_of == "" else digest_of
        assert not isinstance(seen, str)
        return Decided(
            self.file_id,
            "" if seen is None else digest(seen).hex(),
            Freshness(datetime.now(UTC) - timedelta(seconds=age)),
            BY_ADMIN,
        )

    async def pull(
        self,
        state: FileState = FileState.INCOMING,
        *,
        step: Decided | None = None,
        ticket: Ticket | None = None,
    ) -> FileView:
        order = Order(ticket or ticket_of(self.home), "signed", state, step or self.step())
        *_, last = [news async for news in self.here.steps.pulling.pull(order)]
        assert isinstance(last, FileView)
        return last

    async def broken_off(self, *, after: int) -> None:
        """A pull whose source goes down at its piece of that number."""
        calls = self.here.source.calls

        async def down(name: str) -> None:
            if calls.made.count("source.next") >= after:
                raise Unavailable("the source is down")

        before, calls.before = calls.before, down
        with pytest.raises(Unavailable):
            await self.pull()
        calls.before = before

    async def give_up(self, step: Decided | None = None) -> int:
        """Leave nothing of a pull that nobody goes on with."""
        return await self.here.steps.pulling.give_up(step or self.step())

    async def activate(self, step: Decided | None = None, **changes: Any) -> FileView:
        values = {
            "home_since": LATER,
            "revision": None,
            "state": FileState.ACTIVE,
            "finalized_at": None,
        } | changes
        return await self.here.steps.moving.activate(step or self.step(), **values)

    def agrees(self) -> None:
        """Row and counters say what sidecar and store say; nothing else is left."""
        sidecar, tables = self.sidecar, self.here.tables
        row = tables.files.get(self.file_id)
        assert tables.intents == {}
        assert self.here.memory.stages == {}
        assert tables.pulls == {}
        assert self.here.space.reserved_bytes in (0, len(CONTENT))
        if sidecar is None:
            assert row is None
            assert self.blob is None
            assert tables.used_bytes == 0
            return
        assert row is not None
        assert row.sidecar == sidecar
        has_bytes = sidecar.state in HAVE_BYTES or sidecar.state is FileState.DELETED
        assert (self.blob is not None) == has_bytes
        assert row.blob_present == has_bytes
        assert tables.used_bytes == (sidecar.size_bytes if has_bytes else 0)
        assert home_since_of(sidecar) > 0


async def a_minute_at_the_lock(
    element: MemoryElement, file_id: str, monkeypatch: pytest.MonkeyPatch, step: Awaitable[Any]
) -> None:
    """Have `step` wait for the file's lock until it was decided more than a minute ago."""
    late, came = 0.0, asyncio.Event()

    def agreed(_: Clock) -> float:
        came.set()
        return time.time() + late

    monkeypatch.setattr(Clock, "agreed", agreed)
    async with element.writing.hold(file_id):
        waiting = asyncio.ensure_future(step)
        await came.wait()
        late = 61.0
    with pytest.raises(Aborted) as refused:
        await waiting
    assert refused.value.reason == "STALE"
