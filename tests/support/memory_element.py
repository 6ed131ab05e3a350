"""A storage element in memory: what stands on store and catalog, without a service or a port."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis.asyncio import Redis

from mesh.errors import ArtStoreError
from mesh.identity.caller import ALL_NAMESPACES, Caller, Role
from storage_server.catalog.catalog import Catalog
from storage_server.catalog.rows import FileRow
from storage_server.domain.allowance import Holding
from storage_server.domain.modes import Mode
from storage_server.domain.naming import sidecar_path
from storage_server.domain.sidecar import Sidecar, decode, encode
from storage_server.element.identity import ElementFile
from storage_server.element.identity import encode as encode_element
from storage_server.element.moves import Moves
from storage_server.element.state import Element
from storage_server.element.writer import FolderWriterLock, WriterLock
from storage_server.locks import ElementLocks
from storage_server.locks.held import HeldLock
from storage_server.locks.kinds import LockKind
from storage_server.settings import StorageSettings
from storage_server.store.paths import ELEMENT_FILE
from storage_server.store.port import SIDECAR_SUFFIX, Store
from storage_server.uploads.header import Header
from storage_server.uploads.intake import Repeated
from storage_server.uploads.streamed import StreamedUpload
from storage_server.wiring.adapters import Adapters, wire_clock
from storage_server.wiring.files import wire_files, wire_writing
from storage_server.wiring.steps import wire_steps
from storage_server.wiring.uploads import wire_uploads
from storage_server.writing.view import FileView
from tests.support.calls import Called, Calls
from tests.support.memory_catalog import MemoryCatalog
from tests.support.memory_store import Memory, MemoryStore
from tests.support.memory_tables import MemoryTables
from tests.support.origins import BY_ALICE

ELEMENT_ID = "se-01"
TTL_HOURS = 24
IDLE = timedelta(days=7)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ALICE = Caller(
    "alice", Role.USER, frozenset({ALL_NAMESPACES}), namespaces_write=frozenset({ALL_NAMESPACES})
)


class FreeLock:
    """The element's locks as refreshes take them, when nobody else wants any.

    Attributes:
        asked: how often somebody wanted it.
        error: raised instead of giving it.
    """

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.asked = 0
        self.error: ArtStoreError | None = None
        self._catalog = catalog

    def require_no_rebuild_here(self) -> None:
        """There is none."""

    @asynccontextmanager
    async def hold(
        self, kind: LockKind, *, operation_id: str, file_id: str = "", wait_seconds: float = 0.0
    ) -> AsyncIterator[HeldLock]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        fence = await self._catalog.fences.draw()
        if kind is LockKind.BACKGROUND_CLEANUP:
            await self._catalog.fences.raise_cleanup(fence)
        yield HeldLock(kind, file_id, fence, "nobody", operation_id)


class MemoryRedis:
    """Valkey, as far as keys are taken away.

    Attributes:
        deleted: names of keys.
        error: raised instead.
    """

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.error: Exception | None = None

    async def delete(self, name: str) -> None:
        if self.error is not None:
            raise self.error
        self.deleted.append(name)


class Others:
    """The other elements of the mesh, as far as an account is concerned.

    Attributes:
        known: what each of them answers.
        asked: for whom they were asked.
        error: raised instead.
    """

    def __init__(self) -> None:
        self.known: dict[str, Holding] = {}
        self.asked: list[str] = []
        self.error: ArtStoreError | None = None

    async def holdings(self, account: str) -> Mapping[str, Holding]:
        self.asked.append(account)
        if self.error is not None:
            raise self.error
        return self.known


class MemoryReading:
    """A download from another element in memory.

    Attributes:
        sidecar: of the file there.
    """

    def __init__(self, sidecar: Sidecar, pieces: Iterator[bytes], calls: Calls) -> None:
        self.sidecar = sidecar
        self._pieces = pieces
        self._calls = calls

    async def next(self) -> bytes:
        async with self._calls.around("source.next"):
            return next(self._pieces, b"")


class MemorySource:
    """Reads from other elements in memory.

    Attributes:
        elements: by id.
        calls: `source.reading`, for each download, and `source.next`, for each piece.
        piece_bytes: comes at a time.
        tickets: with which it was read.
    """

    def __init__(self) -> None:
        self.elements: dict[str, MemoryElement] = {}
        self.calls = Calls()
        self.piece_bytes = 2
        self.tickets: list[str] = []

    @asynccontextmanager
    async def reading(
        self, source: str, file_id: str, ticket: str, *, offset: int, length: int | None = None
    ) -> AsyncIterator[MemoryReading]:
        self.tickets.append(ticket)
        async with self.calls.around("source.reading"):
            there = self.elements[source]
            sidecar = there.sidecar(file_id)
            content, _ = there.memory.files[path_of(sidecar).removesuffix(SIDECAR_SUFFIX)]
        end = len(content) if length is None else offset + length
        starts = range(offset, end, self.piece_bytes)
        pieces = (content[at : min(at + self.piece_bytes, end)] for at in starts)
        yield MemoryReading(sidecar, pieces, self.calls)


class MemoryElement:
    """A process that writes the element. Another one over the same memory is its next start.

    Attributes:
        calls: those of the store, by name: `write_sidecar`, `stage.seal` and so on.
        source: other elements, from which files are pulled.
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
        source: MemorySource | None = None,
    ) -> None:
        self.memory = memory if memory is not None else Memory()
        self.calls = Calls()
        self.catalog = MemoryCatalog(tables)
        self.tables = self.catalog.tables
        self.element = Element(ELEMENT_ID, Mode.EDIT)
        self.moves = _brought_up(self.element, self.memory, self.calls)
        self.lazy_lock = FreeLock(self.catalog)
        self.redis = MemoryRedis()
        self.writer = Called(FolderWriterLock(), self.calls, "writer.")
        settings = StorageSettings(
            element_id=ELEMENT_ID,
            capacity_bytes=capacity_bytes,
            trash_days=7 if keep_trash else 0,
            cache_ttl_hours=TTL_HOURS,
            upload_idle_days=IDLE.days,
        )
        adapters = Adapters(
            self.element,
            cast(Catalog, self.catalog),
            redis=cast(Redis, self.redis),
            locks=cast(ElementLocks, self.lazy_lock),
            writer=cast(WriterLock, self.writer),
            clock=wire_clock(settings, time.time),
        )
        writing = wire_writing(settings, adapters)
        files = wire_files(settings, adapters, writing)
        self.policies, self.elsewhere = adapters.policies, Others()
        uploads = wire_uploads(
            settings, adapters, writing, find=files.lookup.find, elsewhere=self.elsewhere
        )
        self.file_locks, self.writing, self.replay = (
            writing.file_locks,
            writing.protocol,
            writing.replay,
        )
        self.lookup, self.changes = files.lookup, files.changes
        self.downloads = files.downloads
        self.space, self.intake = uploads.space, uploads.intake
        self.reserving = uploads.reserving
        self.resumable, self.keeping = uploads.resumable, uploads.keeping
        self.source = source if source is not None else MemorySource()
        self.clock = adapters.clock
        self.steps = wire_steps(settings, adapters, writing, uploads, source=self.source)
        self.erasing = self.steps.erasing

    # --- as a client -----------------------------------------------------------------

    async def begin(self, **header: Any) -> StreamedUpload:
        """An upload in one stream that has just begun."""
        begun = await self.intake.begin(a_header(**header), ALICE, by=BY_ALICE)
        assert isinstance(begun, StreamedUpload)
        return begun

    async def upload(self, data: bytes = b"hello", **header: Any) -> FileView:
        """A file, uploaded in one stream or by an earlier call."""
        begun = await self.intake.begin(a_header(**header), ALICE, by=BY_ALICE)
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
        (path,) = [
            one for one in self.memory.files if file_id in one and one.endswith(SIDECAR_SUFFIX)
        ]
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
