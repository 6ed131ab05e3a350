"""A storage element in this process, on a real port, with clients that speak plain gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
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
from mesh.server.server import MeshServer
from storage_server.app import build
from storage_server.settings import StorageSettings
from tests.support.backdoor import S3Backdoor
from tests.support.token_issuer import Signer

ACCEPTED = "artstore-accepted"
CHUNK = 512 * 1024
ADMIN_NOWHERE = "127.0.0.1:1"

Metadata = tuple[tuple[str, str], ...]


class Rig:
    """One element and what is needed to start it again."""

    def __init__(self, folder: Path, *, database_url: str, redis_url: str, **settings: Any) -> None:
        self.folder = folder
        self.bucket: S3Backdoor | None = None
        self.signer = Signer()
        keys = folder / "jwks.json"
        keys.write_text(json.dumps(self.signer.jwks()))
        self.values: dict[str, Any] = {
            "host": "localhost",
            "port": 0,
            "metrics_port": 0,
            "database_url": database_url,
            "redis_url": redis_url,
            "data_dir": folder,
            "keys_path": keys,
            "admin_endpoint": ADMIN_NOWHERE,
            # Whatever the environment of another test says.
            "s3_endpoint_url": "",
            "s3_bucket": "",
            **settings,
        }

    @cached_property
    def element_id(self) -> str:
        """The element's name."""
        return StorageSettings(**self.values).element_id

    @property
    def root(self) -> Path:
        """The element's folder."""
        return self.folder / self._store_folder

    @cached_property
    def _store_folder(self) -> str:
        return StorageSettings(**self.values).folder

    @asynccontextmanager
    async def running(
        self, *, adopt: bool = False, wall: Callable[[], float] = time.time, **changes: Any
    ) -> AsyncIterator[Node]:
        """The element's server, from start to stop; `wall` is its machine's clock."""
        settings = StorageSettings(**self.values | changes)
        async with build(settings, adopt=adopt, wall=wall) as server:
            await server.start()
            async with grpc.aio.insecure_channel(f"localhost:{server.port}") as channel:
                try:
                    yield Node(self, server, channel)
                finally:
                    await server.stop(drain_seconds=0.3)

    def files(self) -> list[str]:
        """Everything in the store that is no housekeeping, by path."""
        found = self.bucket.all() if self.bucket is not None else self._local_files()
        return sorted(found - {"element.json", "element.lock"})

    def _local_files(self) -> set[str]:
        # `os.walk` passes over folders that go meanwhile.
        paths = (Path(folder, name) for folder, _, names in os.walk(self.root) for name in names)
        return {path.relative_to(self.root).as_posix() for path in paths}


class Node:
    """A running element as a client sees it."""

    def __init__(self, rig: Rig, server: MeshServer, channel: grpc.aio.Channel) -> None:
        self.rig = rig
        self.server = server
        self.channel = channel
        self.stub: Any = storage_pb2_grpc.StorageServiceStub(channel)

    def token(self, **claims: Any) -> str:
        claims = {"role": "ADMIN", "ns_read": ["*"], "ns_write": ["*"]} | claims
        if claims["role"] == "SERVICE":
            # As admin signs it for itself, which is the server that may do the most.
            claims = {"aud": f"artstore/{self.rig.element_id}", "admin": True} | claims
        return self.rig.signer.token(**claims)

    def bearer(self, upload_token: str = "", **claims: Any) -> Metadata:
        found = [("authorization", f"Bearer {self.token(**claims)}")]
        if upload_token:
            found.append(("artstore-upload-token", upload_token))
        return tuple(found)

    async def call(self, method: str, request: Any, timeout: float = 10.0, **claims: Any) -> Any:
        """A unary call."""
        upload_token = claims.pop("upload_token", "")
        metadata = self.bearer(upload_token, **claims)
        return await getattr(self.stub, method)(request, metadata=metadata, timeout=timeout)

    async def upload(
        self,
        data: bytes = b"hello",
        *,
        finish: uploads_pb2.UploadFinish | None = None,
        claims: Mapping[str, Any] | None = None,
        timeout: float = 30.0,
        **header: Any,
    ) -> uploads_pb2.UploadResponse:
        """A whole upload in one stream."""
        header = {"original_filename": "a.txt"} | header
        messages = [
            *(chunk_of(data, at) for at in range(0, len(data), CHUNK)),
            finish or uploads_pb2.UploadFinish(),
        ]
        return await self.send_upload(
            uploads_pb2.UploadHeader(**header), messages, timeout=timeout, **dict(claims or {})
        )

    async def send_upload(
        self, header: uploads_pb2.UploadHeader, messages: Iterable[Any], /, **claims: Any
    ) -> uploads_pb2.UploadResponse:
        """An upload of just these messages; the stream ends after them."""
        call = self.open_upload(**claims)
        await call.write(uploads_pb2.UploadRequest(header=header))
        if await accepted(call):
            for message in messages:
                kind = "finish" if isinstance(message, uploads_pb2.UploadFinish) else "chunk"
                try:
                    await call.write(uploads_pb2.UploadRequest(**{kind: message}))
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    break
            else:
                await call.done_writing()
        return await call

    def open_upload(self, timeout: float = 30.0, **claims: Any) -> Any:
        return self.stub.Upload(metadata=self.bearer(**claims), timeout=timeout)

    async def start_upload(self, **header: Any) -> uploads_pb2.StartUploadResponse:
        claims = header.pop("claims", {})
        header = {"original_filename": "a.txt"} | header
        request = uploads_pb2.StartUploadRequest(header=uploads_pb2.UploadHeader(**header))
        return await self.call("StartUpload", request, **claims)

    async def write_upload(
        self,
        opened: uploads_pb2.StartUploadResponse,
        data: bytes,
        *,
        offset: int = 0,
        chunk_size: int = CHUNK,
        **claims: Any,
    ) -> int:
        """Bytes on record after sending `data` from `offset` on in one stream."""
        call = self.open_write(opened, **claims)
        await call.write(uploads_pb2.WriteUploadRequest(upload_id=opened.upload_id))
        if await accepted(call):
            for at in range(0, len(data), chunk_size):
                chunk = chunk_of(data, at, size=chunk_size)
                chunk.offset += offset
                try:
                    await call.write(uploads_pb2.WriteUploadRequest(chunk=chunk))
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    break
            else:
                await call.done_writing()
        return (await call).committed_size_bytes

    def open_write(self, opened: uploads_pb2.StartUploadResponse, **claims: Any) -> Any:
        metadata = self.bearer(opened.upload_token, **{"role": "USER"} | claims)
        return self.stub.WriteUpload(metadata=metadata, timeout=30.0)

    async def get_upload(
        self, opened: uploads_pb2.StartUploadResponse
    ) -> uploads_pb2.GetUploadResponse:
        return await self.call(
            "GetUpload",
            uploads_pb2.GetUploadRequest(upload_id=opened.upload_id),
            upload_token=opened.upload_token,
            role="USER",
        )

    async def commit_upload(
        self,
        opened: uploads_pb2.StartUploadResponse,
        *,
        timeout: float = 10.0,
        **values: Any,
    ) -> uploads_pb2.CommitUploadResponse:
        return await self.call(
            "CommitUpload",
            uploads_pb2.CommitUploadRequest(upload_id=opened.upload_id, **values),
            timeout=timeout,
            upload_token=opened.upload_token,
            role="USER",
        )

    async def download(
        self, file_id: str, offset: int = 0, length: int = 0, **claims: Any
    ) -> bytes:
        """The bytes of a range, each chunk's place and checksum verified."""
        request = downloads_pb2.DownloadRequest(
            file_id=file_id, offset=offset, length=length or None
        )
        call = self.stub.Download(request, metadata=self.bearer(**claims), timeout=30.0)
        data = b""
        header: downloads_pb2.DownloadHeader | None = None
        async for part in call:
            if part.WhichOneof("payload") == "header":
                header = part.header
                continue
            assert part.chunk.offset == offset + len(data)
            assert part.chunk.crc32c == google_crc32c.value(part.chunk.data)
            data += part.chunk.data
        assert header is not None
        assert header.length == len(data)
        return data

    async def get(self, file_id: str, **claims: Any) -> types_pb2.File:
        request = storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
        return (await self.call("GetFile", request, **claims)).file

    async def list(self, **values: Any) -> storage_pb2.StorageServiceListFilesResponse:
        claims = values.pop("claims", {})
        return await self.call(
            "ListFiles", storage_pb2.StorageServiceListFilesRequest(**values), **claims
        )

    async def element(self) -> elements_pb2.StorageElement:
        return (await self.call("GetElement", storage_pb2.GetElementRequest())).element


def chunk_of(data: bytes, at: int, size: int = CHUNK) -> types_pb2.Chunk:
    part = data[at : at + size]
    return types_pb2.Chunk(offset=at, data=part, crc32c=google_crc32c.value(part))


async def accepted(call: Any) -> bool:
    return any(key == ACCEPTED for key, _ in await call.initial_metadata() or ())


def noise(size: int) -> bytes:
    return secrets.token_bytes(size)
