"""Servers in memory, on a real grpc.aio server, that fail when a test tells them to."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
from grpc_health.v1 import health, health_pb2_grpc

from artstore.v1 import (
    downloads_pb2,
    elements_pb2,
    elements_pb2_grpc,
    ingest_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    tokens_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from artstore_client import Client
from mesh import errors
from tests.support.token_issuer import TokenIssuer, refuse

SILENCE_SECONDS = 0.1
ACCEPTED = (("artstore-accepted", "1"),)


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
    """Files and uploads in memory. Faults are used up in order, one for each stream."""

    def __init__(self, element_id: str = "se-01") -> None:
        self.element_id = element_id
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

    def store(self, header: uploads_pb2.UploadHeader, data: bytes) -> types_pb2.File:
        file = types_pb2.File(
            file_id=f"0199aaaa-0000-7000-8000-{next(self._ids):012d}",
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

    async def _note(self, call: str, context: Any) -> None:
        self.calls.append(call)
        faults = self.unary_faults.get(call)
        if faults:
            await refuse(context, faults.pop(0))

    def start(self, header: uploads_pb2.UploadHeader) -> tuple[str, str]:
        known = self.by_request_id.get(header.request_id)
        if known is None:
            known = f"{self.element_id}.{next(self._ids)}"
            self.by_request_id[header.request_id] = known
            self.uploads[known] = Upload(header, token="")
        self.uploads[known].token = f"token-{next(self._ids)}"
        return known, self.uploads[known].token

    async def _upload(self, upload_id: str, context: Any) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None:
            await refuse(context, errors.NotFound("no such upload"))
        assert upload is not None
        if dict(context.invocation_metadata()).get("artstore-upload-token") != upload.token:
            await refuse(context, errors.PermissionDenied("wrong upload token"))
        return upload

    async def GetUpload(self, request, context):
        await self._note("GetUpload", context)
        upload = await self._upload(request.upload_id, context)
        return uploads_pb2.GetUploadResponse(
            committed_size_bytes=len(upload.data), file=upload.file
        )

    async def WriteUpload(self, request_iterator, context):
        self.calls.append("WriteUpload")
        await self.tell()
        fault = self.write_faults.pop(0) if self.write_faults else None
        first = await context.read()
        upload = await self._upload(first.upload_id, context)
        if fault is not None and fault.before_accepting:
            await self._fail(fault, context)
        await context.send_initial_metadata(ACCEPTED)
        received = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            await self.pause.wait()
            if received == 0:
                self.first_offsets.append(request.chunk.offset)
            received += len(request.chunk.data)
            self.bytes_received += len(request.chunk.data)
            if request.chunk.offset > len(upload.data):
                await refuse(context, errors.OutOfRange("a gap"))
            assert google_crc32c.value(request.chunk.data) == request.chunk.crc32c
            del upload.data[request.chunk.offset :]
            upload.data += request.chunk.data
            await self.tell()
            if fault is not None and received >= fault.after_bytes:
                await self._fail(fault, context)
        return uploads_pb2.WriteUploadResponse(committed_size_bytes=len(upload.data))

    async def CommitUpload(self, request, context):
        upload = await self._upload(request.upload_id, context)
        data = bytes(upload.data)
        if request.size_bytes > len(data):
            await refuse(context, errors.OutOfRange("not all bytes are here"))
        if request.sha256 != hashlib.sha256(data).hexdigest():
            await refuse(context, errors.DataLoss("sha256 differs", reason="SHA256"))
        if upload.file is None:
            upload.file = self.store(upload.header, data)
        await self._note("CommitUpload", context)
        return uploads_pb2.CommitUploadResponse(file=upload.file, change_token="changed")

    async def AbortUpload(self, request, context):
        await self._note("AbortUpload", context)
        upload = self.uploads.pop(request.upload_id, None)
        if upload is not None:
            self.by_request_id.pop(upload.header.request_id, None)
        return uploads_pb2.AbortUploadResponse()

    async def Download(self, request, context):
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
        for offset in range(request.offset, end, 64 * 1024):
            if fault is not None and offset - request.offset >= fault.after_bytes:
                await self._fail(fault, context)
            piece = data[offset : min(end, offset + 64 * 1024)]
            yield downloads_pb2.DownloadResponse(
                chunk=types_pb2.Chunk(offset=offset, data=piece, crc32c=google_crc32c.value(piece))
            )

    async def GetFile(self, request, context):
        await self._note("GetFile", context)
        found = self.files.get(request.file_id)
        if found is None:
            await refuse(context, errors.NotFound("no such file"))
        assert found is not None
        return storage_pb2.StorageServiceGetFileResponse(file=found[0])

    async def ListFiles(self, request, context):
        await self._note("ListFiles", context)
        start = int(request.page_token or 0)
        files = [file for file, _ in self.files.values()]
        page = files[start : start + request.page_size]
        more = start + len(page) < len(files)
        return storage_pb2.StorageServiceListFilesResponse(
            files=page,
            next_page_token=str(start + len(page)) if more else "",
            total_size=len(files),
        )

    async def GetElement(self, request, context):
        await self._note("GetElement", context)
        return storage_pb2.GetElementResponse(
            element=elements_pb2.StorageElement(storage_element_id=self.element_id)
        )

    async def _fail(self, fault: Fault, context: Any) -> None:
        if fault.error is None:
            await asyncio.Event().wait()
        else:
            if not isinstance(fault.error, errors.Unavailable):
                await drain(context)
            await refuse(context, fault.error)


class FakeIngest(ingest_pb2_grpc.IngestServiceServicer):
    """Puts everything on one element."""

    def __init__(self, element: FakeElement) -> None:
        self.element = element
        self.endpoint = ""
        self.faults: list[Fault] = []
        self.headers: list[uploads_pb2.UploadHeader] = []
        self.chunks_before_acceptance = 0
        self.bytes_received = 0
        self.passed_on: list[str] = []
        self.accept = asyncio.Event()
        self.accept.set()

    async def Upload(self, request_iterator, context):
        fault = self.faults.pop(0) if self.faults else None
        self.headers.append((await context.read()).header)
        await self.element.tell()
        if fault is not None and fault.before_accepting:
            await self.element._fail(fault, context)
        if not self.accept.is_set():
            reading = asyncio.ensure_future(context.read())
            waiting = asyncio.ensure_future(self.accept.wait())
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            self.chunks_before_acceptance += reading.done()
            await context.send_initial_metadata(ACCEPTED)
            request = await reading
        else:
            await context.send_initial_metadata(ACCEPTED)
            request = await context.read()
        data = bytearray()
        finish = None
        failed = False
        while request is not grpc.aio.EOF:
            if request.HasField("finish"):
                finish = request.finish
            data += request.chunk.data
            self.bytes_received += len(request.chunk.data)
            failed = failed or (fault is not None and len(data) >= fault.after_bytes)
            if failed and fault is not None and fault.error is None:
                await self.element._fail(fault, context)
            request = await context.read()
        if failed and fault is not None:
            await self.element._fail(fault, context)
        if finish is None:
            await refuse(context, errors.Aborted("no finish"))
        assert finish is not None
        if finish.sha256 != hashlib.sha256(data).hexdigest():
            await refuse(context, errors.DataLoss("sha256 differs"))
        file = self.element.store(self.headers[-1], bytes(data))
        return uploads_pb2.UploadResponse(file=file, change_token="changed")

    async def StartUpload(self, request, context):
        await self.element._note("StartUpload", context)
        self.headers.append(request.header)
        upload_id, token = self.element.start(request.header)
        return uploads_pb2.StartUploadResponse(
            upload_id=upload_id,
            storage_element_id=self.element.element_id,
            endpoint=self.endpoint,
            upload_token=token,
            chunk_size_bytes=64 * 1024,
        )


def _pass_on(verb: str) -> Any:
    """A method of ingest that the element serves: the messages are the same."""

    async def serve(self: FakeIngest, request: Any, context: Any) -> Any:
        self.passed_on.append(verb)
        return await getattr(self.element, verb)(request, context)

    return serve


for _verb in ("GetUpload", "WriteUpload", "CommitUpload", "AbortUpload"):
    setattr(FakeIngest, _verb, _pass_on(_verb))


class FakeElements(elements_pb2_grpc.StorageElementServiceServicer):
    """Lists the one element, where it is now."""

    def __init__(self) -> None:
        self.endpoint = ""

    async def ListStorageElements(self, request, context):
        listed = elements_pb2.StorageElement(
            storage_element_id="se-01", endpoint=self.endpoint, healthy=True
        )
        return elements_pb2.ListStorageElementsResponse(elements=[listed], total_size=1)


@dataclass
class FakeMesh:
    """Everything on one port, and where it is."""

    element: FakeElement
    ingest: FakeIngest
    tokens: TokenIssuer
    elements: FakeElements
    endpoint: str
    state_folder: Path
    stop: Callable[[], Any]
    restart: Callable[[], Any]

    def client(self, **options: Any) -> Client:
        known: dict[str, Any] = {
            "mesh_file": None,
            "admin": self.endpoint,
            "ingest": self.endpoint,
            "storage": {"se-01": self.endpoint},
            "client_id": "tester",
            "client_secret": "secret",
            "retry_for_seconds": 10.0,
            "idle_timeout_seconds": 5.0,
            "one_stream_bytes": 256 * 1024,
            "state_folder": self.state_folder,
        }
        return Client.connect(**(known | options))


@asynccontextmanager
async def fake_mesh(state_folder: Path) -> AsyncIterator[FakeMesh]:
    """Serve the fakes on a free port."""
    element = FakeElement()
    ingest, tokens, elements = FakeIngest(element), TokenIssuer(), FakeElements()
    running: list[grpc.aio.Server] = []

    async def start(address: str) -> int:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0)])
        storage_pb2_grpc.add_StorageServiceServicer_to_server(element, server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest, server)
        tokens_pb2_grpc.add_TokenServiceServicer_to_server(tokens, server)
        elements_pb2_grpc.add_StorageElementServiceServicer_to_server(elements, server)
        serving = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(serving, server)
        port = server.add_insecure_port(address)
        await server.start()
        running.append(server)
        return port

    async def stop() -> None:
        await running.pop().stop(None)

    endpoint = f"localhost:{await start('localhost:0')}"
    ingest.endpoint = elements.endpoint = endpoint
    try:
        yield FakeMesh(
            element,
            ingest,
            tokens,
            elements,
            endpoint,
            state_folder,
            stop,
            lambda: start(endpoint),
        )
    finally:
        for server in running:
            await server.stop(None)
