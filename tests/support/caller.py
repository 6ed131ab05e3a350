"""A caller of a mesh, message by message: what the client library hides is what is tested here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from artstore.v1 import (
    cache_pb2_grpc,
    downloads_pb2,
    elements_pb2,
    ingest_pb2_grpc,
    operations_pb2_grpc,
    query_pb2_grpc,
    registry_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from tests.support.mesh import MeshFile

CHUNK_BYTES = 512 * 1024
TIMEOUT_SECONDS = 30.0
ACCEPTED_KEY = "artstore-accepted"
CORE_ERROR = "Internal error from Core"
INGEST = "ingest"
SERVING = health_pb2.HealthCheckResponse.SERVING

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended and how long it took."""

    code: grpc.StatusCode
    text: str = ""
    reason: str = ""
    field: str = ""
    has_retry_info: bool = False
    seconds: float = 0.0
    answer: Any = None

    @property
    def name(self) -> str:
        """The status's name."""
        return self.code.name


def ending_of(error: grpc.aio.AioRpcError, seconds: float) -> Ending:
    """The status with its rich details."""
    reason, fields, retry = "", "", False
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            fields = bad.field_violations[0].field
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = True
    return Ending(error.code(), error.details() or "", reason, fields, retry, seconds)


async def ended(call: Awaitable[Any]) -> Ending:
    """Wait for a call, whatever its end."""
    began = time.monotonic()
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return ending_of(error, time.monotonic() - began)
    return Ending(grpc.StatusCode.OK, seconds=time.monotonic() - began, answer=answer)


class ToldFirst:
    """How a call ended whose caller was sending, as its server said it.

    A message that is on its way when the status comes fails, and grpc.aio puts its INTERNAL over
    that status (grpc#36066). A callback sees which of the two came first, waiting for the call
    which of them stays.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._began = time.monotonic()
        self._first: Ending | None = None
        call.add_done_callback(self._note)

    async def ending(self) -> Ending:
        """Wait for it."""
        last = await ended(self._call)
        return self._first if last.text == CORE_ERROR and self._first is not None else last

    def _note(self, call: Any) -> None:
        code, trailing, text = map(
            _at_once, (call.code(), call.trailing_metadata(), call.details())
        )
        error = grpc.aio.AioRpcError(
            code, grpc.aio.Metadata(), trailing or grpc.aio.Metadata(), text
        )
        self._first = ending_of(error, time.monotonic() - self._began)


def _at_once(answering: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine answers that has nothing to wait for."""
    try:
        answering.send(None)
    except StopIteration as finished:
        return finished.value
    answering.close()
    raise AssertionError("the call has ended, and its status is not there")


def credentials_of(file: MeshFile) -> grpc.ChannelCredentials | None:
    """What a mesh is called with; None for plain text."""
    if file.tls is None:
        return None
    pem = {key: Path(path).read_bytes() for key, path in file.tls.items()}
    return grpc.ssl_channel_credentials(
        pem.get("ca_file"), pem.get("key_file"), pem.get("cert_file")
    )


class Stubs:
    """The services of a mesh, for callers that wait for each answer and for those that do not."""

    file: MeshFile
    token: str

    def channel(self, server: str) -> Any:
        """The channel to a server by its name (`admin`, `se-01`), or to host:port."""
        raise NotImplementedError

    def endpoint(self, server: str) -> str:
        """Where a server is."""
        endpoints = self.file.endpoints
        found: str = endpoints.get("storage", {}).get(server) or endpoints.get(server) or server
        return found

    @property
    def metadata(self) -> Metadata:
        """Of every call."""
        return (("authorization", f"Bearer {self.token}"),)

    @property
    def auth(self) -> dict[str, Any]:
        """Keyword arguments of a unary call."""
        return {"metadata": self.metadata, "timeout": TIMEOUT_SECONDS}

    @property
    def tokens(self) -> Any:
        return tokens_pb2_grpc.TokenServiceStub(self.channel("admin"))

    @property
    def registry(self) -> Any:
        return registry_pb2_grpc.FileRegistryServiceStub(self.channel("admin"))

    @property
    def ingest(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self.channel(INGEST))

    @property
    def query(self) -> Any:
        return query_pb2_grpc.QueryServiceStub(self.channel("query"))

    def storage(self, element: str) -> Any:
        return storage_pb2_grpc.StorageServiceStub(self.channel(element))

    def cache(self, element: str) -> Any:
        return cache_pb2_grpc.CacheServiceStub(self.channel(element))

    def operations(self, element: str) -> Any:
        return operations_pb2_grpc.OperationServiceStub(self.channel(element))


@dataclass
class Caller(Stubs):
    """Calls a mesh with the first account, or with a token. Use with `async with`.

    Attributes:
        change_tokens: of the files that `put` stored.
    """

    file: MeshFile
    token: str = ""
    change_tokens: list[str] = field(default_factory=list)
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        if not self.token:
            self.token = await self.login()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            await channel.close()

    def channel(self, server: str) -> grpc.aio.Channel:
        endpoint = self.endpoint(server)
        if endpoint not in self._channels:
            options = [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.max_send_message_length", -1),
                # A refusal is to be seen as the server said it, at the first try.
                ("grpc.enable_retries", 0),
            ]
            credentials = credentials_of(self.file)
            self._channels[endpoint] = (
                grpc.aio.insecure_channel(endpoint, options=options)
                if credentials is None
                else grpc.aio.secure_channel(endpoint, credentials, options=options)
            )
        return self._channels[endpoint]

    async def login(self, *, timeout: float = TIMEOUT_SECONDS) -> str:
        """A new token of the first account."""
        request = tokens_pb2.IssueTokenRequest(
            client_id=self.file.client_id, client_secret=self.file.client_secret
        )
        token: str = (await self.tokens.IssueToken(request, timeout=timeout)).access_token
        return token

    async def health(self, server: str, service: str = "") -> bool:
        """Whether a service (`CacheService`) is SERVING; False when nobody answers."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel(server))
        name = f"artstore.v1.{service}" if service else ""
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == SERVING)

    # --- files -----------------------------------------------------------------------

    def upload_to(self, target: str = INGEST, *, metadata: Metadata = ()) -> UploadCall:
        """Begin an Upload through ingest, or directly to an element."""
        metadata = metadata or self.metadata
        if target == INGEST:
            return UploadCall(self.ingest.Upload, metadata)
        stub = self.storage(target)
        return UploadCall(stub.Upload, metadata)

    async def put(
        self, content: bytes, name: str = "file.bin", *, target: str = INGEST, **header: Any
    ) -> types_pb2.File:
        """Upload `content` in one stream."""
        header.setdefault("size_bytes", len(content))
        async with self.upload_to(target) as upload:
            await upload.header(original_filename=name, **header)
            if upload.answered is None:
                await upload.send(content)
            answer = upload.answered or await upload.finish(content)
            if answer.change_token:
                self.change_tokens.append(answer.change_token)
            file: types_pb2.File = answer.file
            return file

    async def get(self, element: str, file_id: str) -> types_pb2.File:
        """GetFile of an element."""
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
        file: types_pb2.File = (await self.storage(element).GetFile(request, **self.auth)).file
        return file

    async def read(self, element: str, file_id: str) -> bytes:
        """Download all of a file from its element."""
        parts = [part async for part in self.parts(element, file_id)]
        return b"".join(parts)

    async def parts(self, element: str, file_id: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The chunks of a download."""
        request = downloads_pb2.DownloadRequest(file_id=file_id, offset=offset)
        call = self.storage(element).Download(request, **self.auth)
        try:
            async for message in call:
                if message.WhichOneof("payload") == "chunk":
                    yield message.chunk.data
        finally:
            call.cancel()

    async def listed(self, element: str) -> dict[str, types_pb2.File]:
        """All files that an element lists, by id."""
        found: dict[str, types_pb2.File] = {}
        token = ""
        while True:
            request = storage_pb2.StorageServiceListFilesRequest(page_size=1000, page_token=token)
            page = await self.storage(element).ListFiles(request, **self.auth)
            found |= {file.file_id: file for file in page.files}
            token = page.next_page_token
            if not token:
                assert page.total_size == len(found)
                return found

    async def element(self, element: str) -> elements_pb2.StorageElement:
        """GetElement."""
        answer = await self.storage(element).GetElement(
            storage_pb2.GetElementRequest(), **self.auth
        )
        found: elements_pb2.StorageElement = answer.element
        return found


class Refused(Exception):
    """The server ended the stream before it took a byte; `ending` says how."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"{ending.name}: {ending.text}")
        self.ending = ending


class UploadCall:
    """One Upload stream. Every method raises AioRpcError with the true status of the call.

    Attributes:
        sent_bytes: bytes of chunks handed to gRPC so far.
        answered: what came instead of the permission to send: the file of an earlier request.
    """

    def __init__(self, method: Any, metadata: Metadata) -> None:
        self._call = method(metadata=metadata)
        self.sent_bytes = 0
        self.answered: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def write(self, **payload: Any) -> None:
        """Send one message as it is."""
        await self.write_raw(uploads_pb2.UploadRequest(**payload))

    async def write_raw(self, message: Any) -> None:
        """Send a message object."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call
            raise

    async def header(self, **said: Any) -> None:
        """Send the header and wait until it is accepted.

        Raises:
            Refused: it was not.
        """
        began = time.monotonic()
        try:
            await self.write(header=uploads_pb2.UploadHeader(**said))
            accepted = (await self._call.initial_metadata()).get(ACCEPTED_KEY) is not None
            if not accepted:
                self.answered = await self._call
        except grpc.aio.AioRpcError as error:
            raise Refused(ending_of(error, time.monotonic() - began)) from error

    async def send(self, content: bytes, offset: int = 0) -> None:
        """Send chunks."""
        for at in range(0, len(content), CHUNK_BYTES):
            data = content[at : at + CHUNK_BYTES]
            await self.write(chunk=types_pb2.Chunk(offset=offset + at, data=data))
            self.sent_bytes += len(data)

    async def finish(self, content: bytes | None = None, **said: Any) -> Any:
        """Say that all was sent, and answer the server's answer."""
        if content is not None:
            said = {"size_bytes": len(content), "sha256": sha256_of(content), **said}
        await self.write(finish=uploads_pb2.UploadFinish(**said))
        return await self.answer()

    async def answer(self) -> Any:
        """End the stream and wait for the answer."""
        # Whatever ended the call meanwhile is its answer; gRPC also says that it sent no end.
        ended = asyncio.InvalidStateError, grpc.aio.AioRpcError, grpc.aio.InternalError
        with contextlib.suppress(*ended):
            await self._call.done_writing()
        return await self._call

    def cancel(self) -> None:
        """Break the stream off."""
        self._call.cancel()


def sha256_of(content: bytes) -> str:
    """In lower-case hex."""
    return hashlib.sha256(content).hexdigest()
