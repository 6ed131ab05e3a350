"""What writing, uploads and files need of an element's tables, whatever keeps those.

`Catalog` keeps them in PostgreSQL. What each method does, and what it raises, stands there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from storage_server.catalog.pending import NOTHING_COUNTED, Counted, PendingWrite
from storage_server.catalog.pulls import PullRow
from storage_server.catalog.rows import FileRow
from storage_server.catalog.uploads import UploadRow
from storage_server.catalog.writes import Committed, Guarded
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Origin
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import Identity, StagedState


class RowReads(Protocol):
    """See `storage_server.catalog.reads.Reads`."""

    async def get(self, file_id: str) -> FileRow | None: ...

    async def is_complete(self) -> bool: ...

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> FileRow | None: ...


class RowWrites(Protocol):
    """See `storage_server.catalog.writes.Writes`."""

    async def commit_row(
        self,
        sidecar: Sidecar,
        identity: Identity,
        kind: ChangeKind,
        *,
        now: datetime,
        cache_ttl_hours: int,
        blob_present: bool = True,
        guarded: Guarded | None = None,
    ) -> Committed: ...

    async def renew(
        self,
        file_id: str,
        *,
        guarded: Guarded,
        digest: bytes,
        identity: Identity,
        now: datetime,
        cache_ttl_hours: int,
    ) -> bool: ...

    async def blob_removed(self, file_id: str) -> bool: ...

    async def purge(self, file_id: str) -> Committed | None: ...


class Intents(Protocol):
    """See `storage_server.catalog.pending.Pending`."""

    async def begin_write(
        self,
        file_id: str,
        path: str,
        kind: ChangeKind,
        request_id: str = "",
        *,
        by: Origin,
        revision: int,
        digest: bytes | None = None,
        counted: Counted = NOTHING_COUNTED,
    ) -> int: ...

    async def end_pending(self, pending_id: int) -> None: ...

    async def list_pending(self) -> Sequence[PendingWrite]: ...

    async def of_file(self, file_id: str) -> Sequence[PendingWrite]: ...

    async def of_request(self, request_id: str) -> Sequence[PendingWrite]: ...


class UploadRecords(Protocol):
    """See `storage_server.catalog.uploads.Uploads`."""

    async def create(self, upload: UploadRow) -> None: ...

    async def get(self, upload_id: str) -> UploadRow | None: ...

    async def of_file(self, file_id: str) -> Sequence[UploadRow]: ...

    async def find_by_request(
        self, created_by: str, request_id: str, *, since: datetime
    ) -> UploadRow | None: ...

    async def record_progress(
        self,
        upload_id: str,
        stage: StagedState,
        *,
        reserved_bytes: int,
        received_bytes: int,
        now: datetime,
    ) -> bool: ...

    async def replace_token(self, upload_id: str, token_hash: bytes, *, now: datetime) -> bool: ...

    async def finish(self, upload_id: str, *, now: datetime) -> None: ...

    async def delete(self, upload_id: str) -> None: ...

    async def list_open(self) -> Sequence[UploadRow]: ...

    async def lapse(
        self, created_before: datetime, *, sending: Collection[str]
    ) -> Sequence[str]: ...

    async def list_page(
        self,
        *,
        created_by: str,
        namespaces: Collection[str] | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> tuple[Sequence[UploadRow], int]: ...

    async def list_idle(
        self, touched_before: datetime, *, limit: int = 100
    ) -> Sequence[UploadRow]: ...


class PullRecords(Protocol):
    """See `storage_server.catalog.pulls.Pulls`."""

    async def put(self, pull: PullRow) -> None: ...

    async def get(self, file_id: str) -> PullRow | None: ...

    async def delete(self, file_id: str) -> None: ...

    async def list_open(self) -> Sequence[PullRow]: ...


class FileCatalog(Protocol):
    """The tables of one element, as far as single files are concerned."""

    @property
    def available(self) -> bool:
        """Whether the database answered when it was last asked."""

    @property
    def reads(self) -> RowReads:
        """Rows, one at a time."""

    @property
    def writes(self) -> RowWrites:
        """Row, feed entry, counters and the end of intents, in one step."""

    @property
    def pending(self) -> Intents:
        """Writes that have not reached their row."""

    @property
    def uploads(self) -> UploadRecords:
        """Resumable uploads."""

    @property
    def pulls(self) -> PullRecords:
        """Files on their way here from another element."""
