"""A storage element in memory, as a servicer, that fails when a test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import grpc

from artstore.v1 import (
    downloads_pb2,
    elements_pb2,
    storage_pb2,
    storage_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from mesh import errors
from tests.support.token_issuer import refuse

SILENCE_SECONDS = 0.1
ACCEPTED = (("artstore-accepted", "1"),)
PIECE_BYTES = 64 * 1024


async def drain(context: Any) -> None:
    """As elements do before they refuse: a status that meets a client which is sending may reach
    it as INTERNAL.
    """
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                if await context.read() is grpc.aio.EOF:
                    return


@dataclass
class Fault:
    """What happens in a stream once it has passed `after_bytes`; `error` None means silence."""

    after_bytes: int
    error: errors.ArtStoreError | None
    before_accepting: bool = False


@dataclass
class Upload:
    """A resumable upload of the fake."""

    header: uploads_pb2.UploadHeader
    token: str
    data: bytearray = field(default_factory=bytearray)
    file: types_pb2.File | None = None


class FakeElement(storage_pb2_grpc.StorageServiceServicer):
    """Files and uploads in memory. Faults are used up in order, one for each stream.

    Attributes:
        endpoint: what it says of itself.
        strict: tokens of uploads, checksums and digests must be there and right.
        upload_token: of every upload; a new one for each start when empty.
        losses: how many bytes of an upload are left when it is committed; one for each commit.
    """

    def __init__(self, element_id: str = "se-01") -> None:
        self.element_id = element_id
        self.endpoint = ""
        self.upload_token = ""
        self.change_token = "changed"
        self.losses: list[int] = []
        self.strict = True
        self.files: dict[str, tuple[types_pb2.File, bytes]] = {}
        self.uploads: dict[str, Upload] = {}
        self.by_request_id: dict[str, str] = {}
        self.write_faults: list[Fault] = []
        self.read_faults: list[Fault] = []
        self.unary_faults: dict[str, list[errors.ArtStoreError]] = {}
        self.calls: list[str] = []
        self.bytes_received = 0
        self.first_offsets: list[int] = []
        self.pause = asyncio.Event()
        self.pause.set()
        self._ids = itertools.count(1)
        self._changed = asyncio.Condition()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a state of this fake, or of the ingest before it."""
        async with self._changed:
            await self._changed.wait_for(reached)

    async def tell(self) -> None:
        """Let those who wait look again."""
        async with self._changed:
            self._changed.notify_all()

    def new_file_id(self) -> str:
        return f"0199aaaa-0000-7000-8000-{next(self._ids):012d}"

    def store(self, header: uploads_pb2.UploadHeader, data: bytes) -> types_pb2.File:
        file = types_pb2.File(
            file_id=self.new_file_id(),
            revision=1,
            state=types_pb2.FILE_STATE_ACTIVE,
            original_filename=header.original_filename,
            content_type=header.content_type,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            tags=header.tags,
            attributes=header.attributes,
            request_id=header.request_id,
            storage_element_id=self.element_id,
        )
        self.files[file.file_id] = (file, data)
        return file

    async def note(self, call: str, context: Any) -> None:
        """A call has come; one that is to fail ends here."""
        self.calls.append(call)
        faults = self.unary_faults.get(call)
        if faults:
            await refuse(context, faults.pop(0))

    def start(self, header: uploads_pb2.UploadHeader) -> tuple[str, str]:
        known = self.by_request_id.get(header.request_id) if header.request_id else None
        if known is None:
            known = f"{self.element_id}.{next(self._ids)}"
            self.by_request_id[header.request_id] = known
            self.uploads[known] = Upload(header, token="")
        self.uploads[known].token = self.upload_token or f"token-{next(self._ids)}"
        return known, self.uploads[known].token

    async def _upload(self, upload_id: str, context: Any) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None:
            await refuse(context, errors.NotFound("no such upload"))
        assert upload is not None
        token = dict(context.invocation_metadata()).get("artstore-upload-token")
        if self.strict and token != upload.token:
            await refuse(context, errors.PermissionDenied("wrong upload token"))
        return upload

    async def StartUpload(self, request: Any, context: Any) -> Any:
        await self.note("StartUpload", context)
        upload_id, token = self.start(request.header)
        return uploads_pb2.StartUploadResponse(
            upload_id=upload_id,
            storage_element_id=self.element_id,
            endpoint=self.endpoint,
            upload_token=token,
            chunk_size_bytes=PIECE_BYTES,
        )

    async def GetUpload(self, request: Any, context: Any) -> Any:
        await self.note("GetUpload", context)
        upload = await self._upload(request.upload_id, context)
        return uploads_pb2.GetUploadResponse(
            committed_size_bytes=len(upload.data), file=upload.file
        )

    async def WriteUpload(self, request_iterator: Any, context: Any) -> Any:
        await self.note("WriteUpload", context)
        await self.tell()
        fault = self.write_faults.pop(0) if self.write_faults else None
        messages = aiter(request_iterator)
        request = await anext(messages)
        upload = await self._upload(request.upload_id, context)
        if fault is not None and fault.before_accepting:
            await self.fail(fault, context)
        await context.send_initial_metadata(ACCEPTED)
        received = 0
        while request is not None:
            if request.HasField("chunk"):
                await self.pause.wait()
                await self._add(upload, request.chunk, context, is_first=received == 0)
                received += len(request.chunk.data)
                if fault is not None and received >= fault.after_bytes:
                    await self.fail(fault, context)
            request = await anext(messages, None)
        return uploads_pb2.WriteUploadResponse(committed_size_bytes=len(upload.data))

    async def _add(
        self, upload: Upload, chunk: types_pb2.Chunk, context: Any, *, is_first: bool
    ) -> None:
        if is_first:
            self.first_offsets.append(chunk.offset)
        self.bytes_received += len(chunk.data)
        if chunk.offset > len(upload.data):
            await refuse(context, errors.OutOfRange("a gap"))
        if self.strict:
            assert google_crc32c.value(chunk.data) == chunk.crc32c
        del upload.data[chunk.offset :]
        upload.data += chunk.data
        await self.tell()

    async def CommitUpload(self, request: Any, context: Any) -> Any:
        upload = await self._upload(request.upload_id, context)
        if self.losses:
            del upload.data[self.losses.pop(0) :]
        data = bytes(upload.data)
        if request.size_bytes > len(data):
            await refuse(context, errors.OutOfRange("not all bytes are here"))
        if self.strict and request.sha256 != hashlib.sha256(data).hexdigest():
            await refuse(context, errors.DataLoss("sha256 differs", reason="SHA256"))
        if upload.file is None:
            upload.file = self.store(upload.header, data)
        await self.note("CommitUpload", context)
        return uploads_pb2.CommitUploadResponse(file=upload.file, change_token=self.change_token)

    async def AbortUpload(self, request: Any, context: Any) -> Any:
        await self.note("AbortUpload", context)
        upload = self.uploads.pop(request.upload_id, None)
        if upload is not None:
            self.by_request_id.pop(upload.header.request_id, None)
        return uploads_pb2.AbortUploadResponse()

    async def Download(self, request: Any, context: Any) -> Any:
        self.calls.append("Download")
        fault = self.read_faults.pop(0) if self.read_faults else None
        file, data = self.files[request.file_id]
        self.first_offsets.append(request.offset)
        end = min(len(data), request.offset + request.length) if request.length else len(data)
        yield downloads_pb2.DownloadResponse(
            header=downloads_pb2.DownloadHeader(
                file=file, offset=request.offset, length=end - request.offset
            )
        )
        for offset in range(request.offset, end, PIECE_BYTES):
            if fault is not None and offset - request.offset >= fault.after_bytes:
                await self.fail(fault, context)
            piece = data[offset : min(end, offset + PIECE_BYTES)]
            yield downloads_pb2.DownloadResponse(
                chunk=types_pb2.Chunk(offset=offset, data=piece, crc32c=google_crc32c.value(piece))
            )

    async def GetFile(self, request: Any, context: Any) -> Any:
        await self.note("GetFile", context)
        found = self.files.get(request.file_id)
        if found is None:
            await refuse(context, errors.NotFound("no such file"))
        assert found is not None
        return storage_pb2.StorageServiceGetFileResponse(file=found[0])

    async def ListFiles(self, request: Any, context: Any) -> Any:
        await self.note("ListFiles", context)
        start = int(request.page_token or 0)
        files = [file for file, _ in self.files.values()]
        page = files[start : start + request.page_size]
        more = start + len(page) < len(files)
        return storage_pb2.StorageServiceListFilesResponse(
            files=page,
            next_page_token=str(start + len(page)) if more else "",
            total_size=len(files),
        )

    async def GetElement(self, request: Any, context: Any) -> Any:
        await self.note("GetElement", context)
        return storage_pb2.GetElementResponse(
            element=elements_pb2.StorageElement(storage_element_id=self.element_id)
        )

    async def fail(self, fault: Fault, context: Any) -> None:
        """End a stream as `fault` says."""
        if fault.error is None:
            await asyncio.Event().wait()
        else:
            if not isinstance(fault.error, errors.Unavailable):
                await drain(context)
            await refuse(context, fault.error)
