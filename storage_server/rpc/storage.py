"""StorageService: each call is turned into one of plain Python. Handlers in proto order."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import google_crc32c
import grpc

from artstore.v1 import storage_pb2 as pb
from artstore.v1 import types_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceServicer
from mesh.caller import current_caller, current_upload_token
from mesh.errors import InvalidArgument
from storage_server.element.description import Description
from storage_server.element.mode_change import ModeChange
from storage_server.element.state import Element
from storage_server.files.changes import Changes
from storage_server.files.download import CHUNK_BYTES, Downloads
from storage_server.files.lookup import Lookup
from storage_server.files.view import FileView
from storage_server.rpc import upload_streams
from storage_server.rpc.feed import FeedStreams
from storage_server.rpc.messages import (
    changes_of,
    file_message,
    header_of,
    mode_of,
    optional,
    timestamp,
    token_of,
)
from storage_server.unbroken import Unbroken
from storage_server.uploads.intake import Intake, Repeated
from storage_server.uploads.sessions import Sessions

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class StorageServicer(StorageServiceServicer):
    """See the proto for what each call does."""

    element: Element
    description: Description
    mode_change: ModeChange
    lookup: Lookup
    changes: Changes
    downloads: Downloads
    intake: Intake
    sessions: Sessions
    feed: FeedStreams
    unbroken: Unbroken

    async def Upload(
        self, request_iterator: Any, context: Context
    ) -> pb.StorageServiceUploadResponse:
        """See the proto."""
        first = await upload_streams.first_message(context, "header")
        if not first.HasField("header"):
            raise InvalidArgument("the first message is not the header", field="header")
        begun = await self.intake.begin(header_of(first.header), current_caller())
        if isinstance(begun, Repeated):
            view = begun.view
        else:
            view = await upload_streams.receive(begun, context, self.unbroken)
        return pb.StorageServiceUploadResponse(
            file=self._file(view), change_token=self._token(view)
        )

    async def StartUpload(
        self, request: pb.StorageServiceStartUploadRequest, context: Context
    ) -> pb.StorageServiceStartUploadResponse:
        """See the proto."""
        opened = await self.intake.start(header_of(request.header), current_caller())
        return pb.StorageServiceStartUploadResponse(
            upload_id=opened.upload_id,
            storage_element_id=self.element.element_id,
            endpoint=self.description.endpoint,
            upload_token=opened.token,
            chunk_size_bytes=CHUNK_BYTES,
            expires_at=timestamp(opened.expires_at),
        )

    async def WriteUpload(
        self, request_iterator: Any, context: Context
    ) -> pb.StorageServiceWriteUploadResponse:
        """See the proto."""
        first = await upload_streams.first_message(context, "upload_id")
        session, writer = await self.sessions.writer(first.upload_id, current_upload_token())
        size = await upload_streams.receive_more(first, session, writer, context, self.unbroken)
        return pb.StorageServiceWriteUploadResponse(committed_size_bytes=size)

    async def GetUpload(
        self, request: pb.StorageServiceGetUploadRequest, context: Context
    ) -> pb.StorageServiceGetUploadResponse:
        """See the proto."""
        size, view = await self.sessions.progress(request.upload_id, current_upload_token())
        return pb.StorageServiceGetUploadResponse(
            committed_size_bytes=size, file=None if view is None else self._file(view)
        )

    async def CommitUpload(
        self, request: pb.StorageServiceCommitUploadRequest, context: Context
    ) -> pb.StorageServiceCommitUploadResponse:
        """See the proto."""
        view = await self.sessions.commit(
            request.upload_id,
            current_upload_token(),
            optional(request, "size_bytes"),
            optional(request, "sha256"),
            deadline=upload_streams.deadline_of(context),
        )
        return pb.StorageServiceCommitUploadResponse(
            file=self._file(view), change_token=self._token(view)
        )

    async def AbortUpload(
        self, request: pb.StorageServiceAbortUploadRequest, context: Context
    ) -> pb.StorageServiceAbortUploadResponse:
        """See the proto."""
        await self.sessions.abort(request.upload_id, current_upload_token())
        return pb.StorageServiceAbortUploadResponse()

    async def Download(  # type: ignore[override]
        self, request: pb.DownloadRequest, context: Context
    ) -> None:
        """See the proto."""
        part = await self.downloads.open(
            request.file_id,
            current_caller(),
            offset=request.offset,
            length=request.length,
            seconds_left=context.time_remaining(),
        )
        header = pb.DownloadHeader(
            file=self._file(part.view), offset=part.offset, length=part.length
        )
        if part.chunks is None:
            await context.write(pb.DownloadResponse(header=header))
            return
        offset = part.offset
        async with aclosing(part.chunks) as chunks:
            first = True
            async for data in chunks:
                # The header comes once the bytes are known to be there.
                if first:
                    await context.write(pb.DownloadResponse(header=header))
                    first = False
                chunk = types_pb2.Chunk(offset=offset, data=data, crc32c=google_crc32c.value(data))
                await context.write(pb.DownloadResponse(chunk=chunk))
                offset += len(data)

    async def GetFile(
        self, request: pb.StorageServiceGetFileRequest, context: Context
    ) -> pb.StorageServiceGetFileResponse:
        """See the proto."""
        view = await self.lookup.get(
            request.file_id, current_caller(), seconds_left=context.time_remaining()
        )
        return pb.StorageServiceGetFileResponse(file=self._file(view))

    async def BatchGetFiles(
        self, request: pb.BatchGetFilesRequest, context: Context
    ) -> pb.BatchGetFilesResponse:
        """See the proto."""
        found, missing = await self.lookup.get_many(
            request.file_ids, current_caller(), seconds_left=context.time_remaining()
        )
        return pb.BatchGetFilesResponse(
            files=[self._file(view) for view in found], missing_file_ids=missing
        )

    async def ListFiles(
        self, request: pb.StorageServiceListFilesRequest, context: Context
    ) -> pb.StorageServiceListFilesResponse:
        """See the proto."""
        page = await self.lookup.list_files(
            current_caller(),
            namespace=request.namespace,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.StorageServiceListFilesResponse(
            files=[self._file(view) for view in page.files],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
        )

    async def UpdateFile(
        self, request: pb.UpdateFileRequest, context: Context
    ) -> pb.UpdateFileResponse:
        """See the proto."""
        view = await self.changes.update(
            request.file_id,
            changes_of(request),
            current_caller(),
            expected_revision=optional(request, "expected_revision"),
        )
        return pb.UpdateFileResponse(file=self._file(view), change_token=self._token(view))

    async def DeleteFile(
        self, request: pb.DeleteFileRequest, context: Context
    ) -> pb.DeleteFileResponse:
        """See the proto."""
        view = await self.changes.delete(
            request.file_id,
            current_caller(),
            expected_revision=optional(request, "expected_revision"),
        )
        return pb.DeleteFileResponse(file=self._file(view), change_token=self._token(view))

    async def UndeleteFile(
        self, request: pb.UndeleteFileRequest, context: Context
    ) -> pb.UndeleteFileResponse:
        """See the proto."""
        view = await self.changes.undelete(
            request.file_id,
            current_caller(),
            expected_revision=optional(request, "expected_revision"),
        )
        return pb.UndeleteFileResponse(file=self._file(view), change_token=self._token(view))

    async def GetElement(
        self, request: pb.GetElementRequest, context: Context
    ) -> pb.GetElementResponse:
        """See the proto."""
        await self.description.look()
        return pb.GetElementResponse(element=self.description.message())

    async def SetMode(self, request: pb.SetModeRequest, context: Context) -> pb.SetModeResponse:
        """See the proto."""
        await self.mode_change.change(
            mode_of(request.mode),
            confirm=request.confirm,
            drain_seconds=optional(request, "drain_seconds"),
        )
        return pb.SetModeResponse(element=self.description.message())

    async def WatchChanges(  # type: ignore[override]
        self, request: pb.WatchChangesRequest, context: Context
    ) -> None:
        """See the proto."""
        await self.feed.watch(request, context)

    def _file(self, view: FileView) -> types_pb2.File:
        return file_message(view, self.element.element_id)

    def _token(self, view: FileView) -> str:
        return token_of(view, self.element.element_id, self.element.epoch)
