"""A real server on a free port whose StorageService does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from artstore.v1 import (
    changes_pb2,
    downloads_pb2,
    storage_pb2,
    storage_pb2_grpc,
    types_pb2,
    uploads_pb2,
)
from mesh.identity.caller import ANONYMOUS, Caller, current_caller, current_upload_token
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.server.server import MeshServer
from mesh.settings import MeshSettings
from tests.support.token_issuer import Signer, bearer_of

STORAGE = "artstore.v1.StorageService"


class ScriptedStorage(storage_pb2_grpc.StorageServiceServicer):
    """Each call runs `on_call` first; what it saw is kept in `seen`."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self.verifier = verifier
        self.on_call: Callable[[Any], Awaitable[None]] | None = None
        self.seen: list[tuple[Caller, Caller, str]] = []
        self.ended: list[str] = []
        self.entered = asyncio.Event()

    async def _enter(self, context: Any) -> None:
        peer = self.verifier.cached(bearer_of(context)) or ANONYMOUS
        self.seen.append((current_caller(), peer, current_upload_token()))
        self.entered.set()
        if self.on_call is not None:
            await self.on_call(context)

    async def GetFile(self, request: Any, context: Any) -> Any:
        await self._enter(context)
        return storage_pb2.StorageServiceGetFileResponse(
            file=types_pb2.File(file_id=request.file_id)
        )

    async def Upload(self, request_iterator: Any, context: Any) -> Any:
        await self._enter(context)
        count = 0
        async for _ in request_iterator:
            count += 1
        return uploads_pb2.UploadResponse(change_token=str(count))

    async def Download(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._enter(context)
        try:
            for number in range(request.length):
                chunk = types_pb2.Chunk(offset=number, data=b"x" * 1024)
                yield downloads_pb2.DownloadResponse(chunk=chunk)
        finally:
            self.ended.append("Download")

    async def WatchChanges(self, request: Any, context: Any) -> None:  # type: ignore[override]
        await self._enter(context)
        try:
            for _ in range(3):
                await context.write(changes_pb2.WatchChangesResponse())
            await asyncio.Event().wait()
        finally:
            self.ended.append("WatchChanges")


async def echo(request_iterator: Any, context: Any) -> None:
    """A bidirectional method of a service that the role table does not know."""
    async for message in request_iterator:
        await context.write(message)


def add_unlisted_service(servicer: object, server: grpc.aio.Server) -> None:
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    handler = grpc.method_handlers_generic_handler("test.Unlisted", methods)
    server.add_generic_rpc_handlers((handler,))


class Serving:
    """A started server, its servicer, a signer it trusts and a plain channel to it."""

    def __init__(
        self,
        server: MeshServer,
        storage: ScriptedStorage,
        signer: Signer,
        channel: grpc.aio.Channel,
    ) -> None:
        self.server = server
        self.signer = signer
        self.channel = channel
        self.storage = storage
        self.suspensions = storage.verifier.suspensions
        self.stub: Any = storage_pb2_grpc.StorageServiceStub(channel)

    def bearer(self, **changes: Any) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.signer.token(**changes)}"),)


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Serving]:
    signer = Signer()
    keys = KeySet()
    keys.replace(signer.jwks())
    verifier = TokenVerifier(keys)
    server = MeshServer(MeshSettings(host="localhost", **settings), verifier)
    storage = ScriptedStorage(verifier)
    server.add(STORAGE, storage_pb2_grpc.add_StorageServiceServicer_to_server, storage)
    server.add("test.Unlisted", add_unlisted_service, object())
    await server.start()
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        try:
            yield Serving(server, storage, signer, channel)
        finally:
            await server.stop(drain_seconds=0.5)


def upload_chunk(size: int = 64 * 1024) -> Any:
    return uploads_pb2.UploadRequest(chunk=types_pb2.Chunk(data=b"x" * size))
