"""StorageService: each call is turned into one of plain Python. Handlers in proto order."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from artstore.v1 import changes_pb2, downloads_pb2, storage_pb2, uploads_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceServicer
from mesh.checksum import crc32c
from mesh.contract import CHUNK_BYTES
from mesh.elements.disclosure import told_to
from mesh.errors import InvalidArgument, PermissionDenied, Unimplemented
from mesh.framing import Piece, as_bytes, framed, pieces_or
from mesh.identity.caller import (
    Role,
    current_caller,
    current_file_id,
    current_ticket,
    current_upload_token,
)
from mesh.identity.tickets import TicketVerifier
from mesh.server.announced import Form
from storage_server.domain.sidecar import digest, encode
from storage_server.element.mode_change import ModeChange
from storage_server.files.element_files import ElementFiles
from storage_server.reporting.description import Description
from storage_server.rpc import upload_streams
from storage_server.rpc.answers import Answers
from storage_server.rpc.feed import FeedStreams
from storage_server.rpc.messages import (
    changes_of,
    header_of,
    mode_of,
    open_upload,
    optional,
    timestamp,
)
from storage_server.rpc.origins import of_this_call
from storage_server.uploads.element_uploads import ElementUploads
from storage_server.uploads.intake import Repeated

Context = grpc.aio.ServicerContext[Any, Any]

# Streams of bytes go past protobuf where they can.
FORMS = {
    "Upload": Form(
        pieces_or(uploads_pb2.UploadRequest), uploads_pb2.UploadResponse.SerializeToString
    ),
    "WriteUpload": Form(
        pieces_or(uploads_pb2.WriteUploadRequest), uploads_pb2.WriteUploadResponse.SerializeToString
    ),
    "Download": Form(downloads_pb2.DownloadRequest.FromString, as_bytes),
}


@dataclass(slots=True)
class StorageServicer(StorageServiceServicer):
    """See the proto for what each call does."""

    answers: Answers
    description: Description
    mode_change: ModeChange
    files: ElementFiles
    uploads: ElementUploads
    feed: FeedStreams
    tickets: TicketVerifier

    async def Upload(self, request_iterator: Any, context: Context) -> uploads_pb2.UploadResponse:
        """See the proto."""
        first = await upload_streams.first_message(context, "header")
        if isinstance(first, Piece) or not first.HasField("header"):
            raise InvalidArgument("the first message is not the header", field="header")
        begun = await self.uploads.intake.begin(
            header_of(first.header), current_caller(), by=of_this_call()
        )
        if isinstance(begun, Repeated):
            view = begun.view
        else:
            current_file_id.set(begun.file_id)
            view = await upload_streams.receive(
                begun, context, self.uploads.unbroken, hand=self.uploads.hands.begin()
            )
        return uploads_pb2.UploadResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def StartUpload(
        self, request: uploads_pb2.StartUploadRequest, context: Context
    ) -> uploads_pb2.StartUploadResponse:
        """See the proto."""
        opened = await self.uploads.intake.start(header_of(request.header), current_caller())
        return uploads_pb2.StartUploadResponse(
            upload_id=opened.upload_id,
            storage_element_id=self.answers.element_id,
            endpoint=self.description.endpoint,
            upload_token=opened.token,
            chunk_size_bytes=CHUNK_BYTES,
            expires_at=timestamp(opened.expires_at),
        )

    async def WriteUpload(
        self, request_iterator: Any, context: Context
    ) -> uploads_pb2.WriteUploadResponse:
        """See the proto."""
        read = [await upload_streams.first_message(context, "upload_id")]
        upload_id = "" if isinstance(read[0], Piece) else read[0].upload_id
        upload, writer = await self.uploads.resumable.writer(
            upload_id, current_upload_token(), current_caller()
        )
        size = await upload_streams.receive_more(
            read, upload, writer, context, self.uploads.unbroken, hand=self.uploads.hands.begin()
        )
        return uploads_pb2.WriteUploadResponse(committed_size_bytes=size)

    async def GetUpload(
        self, request: uploads_pb2.GetUploadRequest, context: Context
    ) -> uploads_pb2.GetUploadResponse:
        """See the proto."""
        size, view = await self.uploads.resumable.progress(
            request.upload_id, current_upload_token(), current_caller()
        )
        return uploads_pb2.GetUploadResponse(
            committed_size_bytes=size, file=None if view is None else self.answers.file(view)
        )

    async def ListUploads(
        self, request: storage_pb2.ListUploadsRequest, context: Context
    ) -> storage_pb2.ListUploadsResponse:
        """See the proto."""
        caller = current_caller()
        created_by = request.created_by
        if caller.role is not Role.ADMIN:
            if created_by not in ("", caller.subject):
                raise PermissionDenied("only an ADMIN lists others' uploads", reason="ROLE_DENIED")
            created_by = caller.subject
        rows, token, total = await self.uploads.resumable.list_open(
            caller,
            created_by=created_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return storage_pb2.ListUploadsResponse(
            uploads=[open_upload(row, self.uploads.resumable.expires_at(row)) for row in rows],
            next_page_token=token,
            total_size=total,
        )

    async def GetUploadTotals(
        self, request: storage_pb2.GetUploadTotalsRequest, context: Context
    ) -> storage_pb2.GetUploadTotalsResponse:
        """See the proto."""
        held = self.uploads.totals(request.created_by)
        return storage_pb2.GetUploadTotalsResponse(
            open_uploads=held.open_uploads,
            unsent_size_bytes=held.unsent_bytes,
            largest_unsent_size_bytes=held.largest_bytes,
            free_size_bytes=held.free_bytes,
            undecided=held.undecided,
        )

    async def CommitUpload(
        self, request: uploads_pb2.CommitUploadRequest, context: Context
    ) -> uploads_pb2.CommitUploadResponse:
        """See the proto."""
        view = await self.uploads.resumable.commit(
            request.upload_id,
            current_upload_token(),
            current_caller(),
            optional(request, "size_bytes"),
            optional(request, "sha256"),
            by=of_this_call(),
            deadline=upload_streams.deadline_of(context),
        )
        return uploads_pb2.CommitUploadResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def AbortUpload(
        self, request: uploads_pb2.AbortUploadRequest, context: Context
    ) -> uploads_pb2.AbortUploadResponse:
        """See the proto."""
        await self.uploads.resumable.abort(
            request.upload_id,
            current_upload_token(),
            current_caller(),
            as_owner=request.as_owner,
        )
        return uploads_pb2.AbortUploadResponse()

    async def Download(  # type: ignore[override]
        self, request: downloads_pb2.DownloadRequest, context: Context
    ) -> None:
        """See the proto."""
        by_ticket = current_ticket() and await self._has_ticket(request.file_id)
        part = await self.files.downloads.open(
            request.file_id,
            current_caller(),
            offset=request.offset,
            length=optional(request, "length"),
            seconds_left=context.time_remaining(),
            by_ticket=bool(by_ticket),
        )
        header = downloads_pb2.DownloadHeader(
            file=self.answers.file(part.view),
            offset=part.offset,
            length=part.length,
            sidecar=encode(part.view.sidecar) if by_ticket else b"",
        )
        if part.chunks is None:
            await context.write(downloads_pb2.DownloadResponse(header=header))
            return
        offset = part.offset
        async with aclosing(part.chunks) as chunks:
            first = True
            async for data in chunks:
                # The header comes once the bytes are known to be there.
                if first:
                    await context.write(downloads_pb2.DownloadResponse(header=header))
                    first = False
                size = len(data)
                message = framed(offset, data, crc32c(data))
                del data
                with chunks.taking(size):
                    await context.write(message)
                offset += size

    async def _has_ticket(self, file_id: str) -> bool:
        ticket = await self.tickets.verify(current_ticket())
        ticket.require(current_caller(), source=self.answers.element_id, file_id=file_id)
        return True

    async def GetFile(
        self, request: storage_pb2.StorageServiceGetFileRequest, context: Context
    ) -> storage_pb2.StorageServiceGetFileResponse:
        """See the proto."""
        view = await self.files.lookup.get(
            request.file_id,
            current_caller(),
            seconds_left=context.time_remaining(),
            show_deleted=request.show_deleted,
            omit_refresh=request.omit_refresh,
        )
        return storage_pb2.StorageServiceGetFileResponse(
            file=self.answers.file(view),
            digest=digest(view.sidecar).hex(),
            bytes_present=view.blob_present,
        )

    async def BatchGetFiles(
        self, request: storage_pb2.BatchGetFilesRequest, context: Context
    ) -> storage_pb2.BatchGetFilesResponse:
        """See the proto."""
        found, missing = await self.files.lookup.get_many(
            request.file_ids,
            current_caller(),
            seconds_left=context.time_remaining(),
            show_deleted=request.show_deleted,
        )
        return storage_pb2.BatchGetFilesResponse(
            files=[self.answers.file(view) for view in found], missing_file_ids=missing
        )

    async def ListFiles(
        self, request: storage_pb2.StorageServiceListFilesRequest, context: Context
    ) -> storage_pb2.StorageServiceListFilesResponse:
        """See the proto."""
        page = await self.files.lookup.list_files(
            current_caller(),
            namespace=request.namespace,
            page_size=request.page_size,
            page_token=request.page_token,
            show_deleted=request.show_deleted,
            only_trash=request.only_trash,
        )
        return storage_pb2.StorageServiceListFilesResponse(
            files=[self.answers.file(view) for view in page.files],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
            trash_days=page.trash_days,
        )

    async def UpdateFile(
        self, request: storage_pb2.UpdateFileRequest, context: Context
    ) -> storage_pb2.UpdateFileResponse:
        """See the proto."""
        view = await self.files.changes.update(
            request.file_id,
            changes_of(request),
            current_caller(),
            by=of_this_call(),
            expected_revision=optional(request, "expected_revision"),
        )
        return storage_pb2.UpdateFileResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def DeleteFile(
        self, request: storage_pb2.DeleteFileRequest, context: Context
    ) -> storage_pb2.DeleteFileResponse:
        """See the proto."""
        view = await self.files.changes.delete(
            request.file_id,
            current_caller(),
            by=of_this_call(),
            expected_revision=optional(request, "expected_revision"),
        )
        return storage_pb2.DeleteFileResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def UndeleteFile(
        self, request: storage_pb2.UndeleteFileRequest, context: Context
    ) -> storage_pb2.UndeleteFileResponse:
        """See the proto."""
        view = await self.files.changes.undelete(
            request.file_id,
            current_caller(),
            by=of_this_call(),
            expected_revision=optional(request, "expected_revision"),
            retention_days=optional(request, "retention_days"),
        )
        return storage_pb2.UndeleteFileResponse(
            file=self.answers.file(view), change_token=self.answers.token(view)
        )

    async def GetElement(
        self, request: storage_pb2.GetElementRequest, context: Context
    ) -> storage_pb2.GetElementResponse:
        """See the proto."""
        await self.description.look()
        element = told_to(current_caller(), self.description.message())
        return storage_pb2.GetElementResponse(element=element)

    async def SetMode(
        self, request: storage_pb2.SetModeRequest, context: Context
    ) -> storage_pb2.SetModeResponse:
        """See the proto."""
        await self.mode_change.change(
            mode_of(request.mode),
            confirm=request.confirm,
            drain_seconds=optional(request, "drain_seconds"),
        )
        return storage_pb2.SetModeResponse(element=self.description.message())

    async def SetDrain(self, request: storage_pb2.SetDrainRequest, context: Context) -> NoReturn:
        """See the proto."""
        raise Unimplemented(
            "an element is not drained by this version: put it into mode ro instead, which"
            " refuses new uploads"
        )

    async def WatchChanges(  # type: ignore[override]
        self, request: changes_pb2.WatchChangesRequest, context: Context
    ) -> None:
        """See the proto."""
        await self.feed.watch(request, context)
