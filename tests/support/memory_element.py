"""A storage element in memory: what stands on store and catalog, without a service or a port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from mesh.concurrency.keyed_locks import KeyedLocks
from mesh.concurrency.unbroken import Unbroken
from mesh.errors import ArtStoreError
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role
from storage_server.catalog.reads import Reads
from storage_server.catalog.rows import FileRow
from storage_server.domain.modes import Mode
from storage_server.domain.naming import sidecar_path
from storage_server.domain.sidecar import Sidecar, decode, encode
from storage_server.element.clock import Clock
from storage_server.element.identity import ElementFile
from storage_server.element.identity import encode as encode_element
from storage_server.element.moves import Moves
from storage_server.element.space import Space
from storage_server.element.state import Element
from storage_server.element.writer import FolderWriterLock
from storage_server.files.changes import Changes
from storage_server.files.lookup import Lookup
from storage_server.files.refresh import Refresh
from storage_server.store.paths import ELEMENT_FILE
from storage_server.store.port import Store
from storage_server.uploads.header import Header
from storage_server.uploads.intake import Intake, Repeated
from storage_server.uploads.keeping import UploadKeeping
from storage_server.uploads.open_uploads import OpenUploads
from storage_server.uploads.parts import UploadParts
from storage_server.uploads.resumable_uploads import ResumableUploads
from storage_server.uploads.streamed import StreamedUpload
from storage_server.writing.protocol import Writing
from storage_server.writing.recording import Recording
from storage_server.writing.replay import Replay
from storage_server.writing.view import FileView
from tests.support.calls import Called, Calls
from tests.support.memory_catalog import MemoryCatalog, MemoryTables
from tests.support.memory_store import Memory, MemoryStore

ELEMENT_ID = "se-01"
TTL_HOURS = 24
IDLE = timedelta(days=7)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ALICE = Caller(
    "alice", Role.USER, frozenset({ALL_NAMESPACES}), namespaces_write=frozenset({ALL_NAMESPACES})
)


class FreeLock:
    """The element-wide lock of refreshes, which nobody else wants.

    Attributes:
        asked: how often somebody wanted it.
        error: raised instead of giving it.
    """

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.asked = 0
        self.error: ArtStoreError | None = None
        self._catalog = catalog

    @asynccontextmanager
    async def hold(self, file_id: str) -> AsyncIterator[int]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        yield await self._catalog.fences.draw()


class MemoryElement:
    """A process that writes the element. Another one over the same memory is its next start.

    Attributes:
        calls: those of the store, by name: `write_sidecar`, `stage.seal` and so on.
        catalog: counts and breaks its own.
        moves: of its phase.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        tables: MemoryTables | None = None,
        *,
        capacity_bytes: int = 1 << 40,
        keep_trash: bool = True,
    ) -> None:
        self.memory = memory if memory is not None else Memory()
        self.calls = Calls()
        self.catalog = MemoryCatalog(tables)
        self.tables = self.catalog.tables
        self.element = Element(ELEMENT_ID, Mode.EDIT)
        self.moves = _brought_up(self.element, self.memory, self.calls)
        self.space = Space(self.element, capacity_bytes)
        self.file_locks = KeyedLocks()
        self.lazy_lock = FreeLock(self.catalog)
        self._wire(keep_trash)

    def _wire(self, keep_trash: bool) -> None:
        element, catalog, locks, unbroken = self.element, self.catalog, self.file_locks, Unbroken()
        self.writer = Called(FolderWriterLock(), self.calls, "writer.")
        recording = Recording(element, catalog, self.writer, ttl_hours=lambda _: TTL_HOURS)
        self.writing = writing = Writing(element, recording, locks)
        self.replay = Replay(element, catalog, writing)
        self.refresh = Refresh(element, catalog, recording, locks, self.lazy_lock)
        # Of rows it is asked for one at a time here.
        self.lookup = Lookup(element, cast(Reads, catalog.reads), self.refresh)
        self.changes = Changes(element, catalog, writing, unbroken, keep_trash=keep_trash)
        parts = UploadParts(element, self.space, writing, catalog.uploads, unbroken)
        uploads = OpenUploads(parts, catalog.reads, self.replay)
        self.keeping = UploadKeeping(parts, uploads, idle_for=IDLE)
        self.resumable = ResumableUploads(parts, uploads, find=self.lookup.find, idle_for=IDLE)
        self.intake = Intake(
            parts,
            catalog,
            uploads,
            self.resumable,
            self.replay,
            find=self.lookup.find,
            clock=Clock(ELEMENT_ID, tolerance_seconds=5.0),
        )

    # --- as a client -----------------------------------------------------------------

    async def begin(self, **header: Any) -> StreamedUpload:
        """An upload in one stream that has just begun."""
        begun = await self.intake.begin(a_header(**header), ALICE)
        assert isinstance(begun, StreamedUpload)
        return begun

    async def upload(self, data: bytes = b"hello", **header: Any) -> FileView:
        """A file, uploaded in one stream or by an earlier call."""
        begun = await self.intake.begin(a_header(**header), ALICE)
        if isinstance(begun, Repeated):
            return begun.view
        await begun.write(0, data, None)
        return await begun.finish(None, None)

    # --- behind its back -------------------------------------------------------------

    def row(self, file_id: str) -> FileRow | None:
        """What is on record of a file."""
        return self.tables.row(file_id)

    def expire(self) -> None:
        """Let every row be too old to be believed."""
        for file_id, row in self.tables.files.items():
            self.tables.files[file_id] = replace(row, cache_updated_at=LONG_AGO)

    def sidecar(self, file_id: str) -> Sidecar:
        """What the store has of a file."""
        (path,) = [one for one in self.memory.files if file_id in one and one.endswith(".json")]
        return decode(self.memory.files[path][0])

    def put_sidecar(self, sidecar: Sidecar) -> None:
        """Write a sidecar as an operator does."""
        self.memory.put(path_of(sidecar), encode(sidecar))

    def paths(self) -> set[str]:
        """Blobs, sidecars and stages that are there."""
        return {*self.memory.files, *self.memory.stages} - {ELEMENT_FILE}


def a_header(**fields: Any) -> Header:
    return Header(**{"original_filename": "report.pdf", **fields})


def path_of(sidecar: Sidecar) -> str:
    return sidecar_path(sidecar.storage_path, sidecar.storage_filename)


def _brought_up(element: Element, memory: Memory, calls: Calls) -> Moves:
    """The moves of an element that they have made a writer."""
    identity = ElementFile(ELEMENT_ID, "store", Mode.EDIT)
    memory.put(ELEMENT_FILE, encode_element(identity))
    moves = Moves(element)
    moves.store_opened(cast(Store, Called(MemoryStore(memory), calls)), identity)
    moves.lock_taken()
    moves.tables_found()
    moves.past_known()
    return moves
