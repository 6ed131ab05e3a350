"""QueryService: each call is turned into one of plain Python."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Histogram

from artstore.v1 import downloads_pb2, query_pb2
from artstore.v1.query_pb2_grpc import QueryServiceServicer
from artstore.v1.types_pb2 import File
from mesh.elements.disclosure import counts_all
from mesh.errors import ArtStoreError, NotFound, Unavailable
from mesh.follower.rows import to_file
from mesh.identity.caller import Caller, current_caller
from mesh.operations import Operation, Operations
from query_server.files.asking import ENDS, has_expired
from query_server.files.downloads import Progress
from query_server.files.files import IndexedFiles
from query_server.files.originals import Originals
from query_server.following.sync import IndexSync
from query_server.rpc import messages
from query_server.search.index import SearchIndex

SEARCH_SECONDS = Histogram(
    "artstore_search_seconds",
    "Time of a search, waits for change tokens left out",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)


@dataclass(slots=True)
class QueryServicer(QueryServiceServicer):
    """Handlers in the order of the proto."""

    index: SearchIndex
    files: IndexedFiles
    originals: Originals
    sync: IndexSync
    operations: Operations

    async def SearchFiles(
        self, request: query_pb2.SearchFilesRequest, context: Any
    ) -> query_pb2.SearchFilesResponse:
        """See the proto."""
        caller = current_caller()
        query = messages.to_query(request, caller)
        await self.sync.wait_for(
            request.min_change_tokens, account=caller.subject, size_bytes=request.ByteSize()
        )
        # Asked before the search: what it finds may be more complete than it says, never less.
        complete = self.index.complete and await self.sync.complete()
        with SEARCH_SECONDS.time():
            page = await self.index.search(query)
        return messages.from_page(page, complete=complete)

    async def GetFile(
        self, request: query_pb2.QueryServiceGetFileRequest, context: Any
    ) -> query_pb2.QueryServiceGetFileResponse:
        """See the proto."""
        caller = current_caller()
        rows = await self.files.replicas(request.file_id, caller)
        if rows and not rows[0]["ended"]:
            return query_pb2.QueryServiceGetFileResponse(file=to_file(rows[0]))
        _, file = await self._find(request.file_id, caller, ended=bool(rows))
        return query_pb2.QueryServiceGetFileResponse(file=file)

    async def DownloadFile(
        self, request: downloads_pb2.DownloadRequest, context: Any
    ) -> AsyncIterator[downloads_pb2.DownloadResponse]:
        """See the proto."""
        caller = current_caller()
        rows = await self.files.replicas(request.file_id, caller)
        ended = bool(rows) and rows[0]["ended"]
        # Of one that seems to have expired its home is asked, before a copy gives it.
        homes = [] if ended else [row["storage_element_id"] for row in rows]
        late: ArtStoreError | None = None
        progress = Progress(request)
        if homes:
            try:
                async for part in self.originals.stream(progress, homes, caller):
                    yield part
                return
            except (NotFound, Unavailable) as error:
                # The index is late: the file may have gone elsewhere, while it was read too.
                went = bool(error.metadata.get("moved_to"))
                if error.reason in ENDS or (progress.begun and not went):
                    raise
                late = error
        try:
            home, _ = await self._find(request.file_id, caller, but=homes, ended=ended)
        except NotFound as error:
            if isinstance(late, Unavailable) and error.reason not in ENDS:
                raise late from error
            raise
        rest = progress if progress.begun else Progress(request)
        async for part in self.originals.stream(rest, [home], caller):
            yield part

    async def _find(
        self, file_id: str, caller: Caller, *, but: Collection[str] = (), ended: bool
    ) -> tuple[str, File]:
        """See `Originals.find`; where none answers, one that has `ended` by the index is gone."""
        try:
            return await self.originals.find(file_id, caller, but=but)
        except Unavailable as error:
            if not ended or error.reason == "SWITCHING":
                raise
            raise has_expired(file_id) from None

    async def SyncIndex(
        self, request: query_pb2.SyncIndexRequest, context: Any
    ) -> query_pb2.SyncIndexResponse:
        """See the proto."""
        started = time.monotonic()
        name, seconds = request.storage_element_id, context.time_remaining()

        async def work(operation: Operation) -> dict[str, int]:
            operation.begin("reading")
            counts = await self.sync.snapshot(name, seconds)
            operation.advance(sum(counts.values()))
            return counts

        counts = await self.operations.run("sync", request.operation_id, work, asked=name)
        return query_pb2.SyncIndexResponse(
            elements=await self._statuses(request.storage_element_id),
            file_count=sum(counts.values()),
            duration_seconds=time.monotonic() - started,
        )

    async def GetSyncStatus(
        self, request: query_pb2.GetSyncStatusRequest, context: Any
    ) -> query_pb2.GetSyncStatusResponse:
        """See the proto."""
        return query_pb2.GetSyncStatusResponse(
            elements=await self._statuses(request.storage_element_id),
            index_complete=self.index.complete and await self.sync.complete(),
        )

    async def _statuses(self, element_id: str) -> list[query_pb2.ElementSyncStatus]:
        now, caller = datetime.now(UTC), current_caller()
        namespaces = None if counts_all(caller) else sorted(caller.namespaces_read)
        return [
            messages.from_status(status, count, now, caller)
            for status, count in await self.sync.statuses(element_id, namespaces=namespaces)
        ]
