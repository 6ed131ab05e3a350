"""A storage element in memory: what stands on store and catalog, without a service or a port."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
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
from storage_server.store.port import Store
from storage_server.uploads.header import Header
from storage_server.uploads.intake import Repeated
from storage_server.uploads.streamed import StreamedUpload
from storage_server.wiring.adapters import Adapters, wire_clock
from storage_server.wiring.files import wire_files, wire_writing
from storage_server.wiring.uploads import wire_uploads
from storage_server.writing.view import FileView
from tests.support.calls import Called, Calls
from tests.support.memory_catalog import MemoryCatalog, MemoryTables
from tests.support.memory_store import Memory, MemoryStore
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

    @asynccontextmanager
    async def hold(
        self, kind: LockKind, *, operation_id: str, file_id: str = "", wait_seconds: float = 0.0
    ) -> AsyncIterator[HeldLock]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        yield HeldLock(kind, file_id, await self._catalog.fences.draw(), "nobody", operation_id)


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
        self.lazy_lock = FreeLock(self.catalog)
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
            redis=cast(Redis, None),
            locks=cast(ElementLocks, self.lazy_lock),
            writer=cast(WriterLock, self.writer),
            clock=wire_clock(settings, time.time),
        )
        writing = wire_writing(settings, adapters)
        files = wire_files(settings, adapters, writing)
        self.elsewhere = Others()
        uploads = wire_uploads(
            settings, adapters, writing, find=files.lookup.find, elsewhere=self.elsewhere
        )
        self.file_locks, self.writing, self.replay = (
            writing.file_locks,
            writing.protocol,
            writing.replay,
        )
        self.lookup, self.changes = files.lookup, files.changes
        self.space, self.intake = uploads.space, uploads.intake
        self.reserving = uploads.reserving
        self.resumable, self.keeping = uploads.resumable, uploads.keeping

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
