"""The other callers of a mesh: they read, upload and log in, at a steady rate."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from artstore.v1 import (
    query_pb2,
    query_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from artstore_client import ArtStoreError, Client

READS_PER_SECOND = 50.0
UPLOADS_PER_SECOND = 2.0
LOGINS_PER_SECOND = 0.5
UPLOAD_BYTES = 64 * 1024
DEADLINE_SECONDS = 30.0


@dataclass(slots=True)
class Others:
    """What they saw in one measurement.

    Attributes:
        reads, uploads, logins: seconds of each call that went through.
        failures: what was said to those that did not.
    """

    reads: list[float] = field(default_factory=list)
    uploads: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


Call = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class OtherCallers:
    """One caller that reads a file at one server, one that uploads, and one that logs in.

    Args:
        read, upload, login: one call of each.
    """

    read: Call
    upload: Call
    login: Call

    async def for_seconds(self, seconds: float) -> Others:
        """Call for so long; each call begins in time, whether earlier ones have ended or not."""
        seen = Others()
        await asyncio.gather(
            _steadily(self.read, READS_PER_SECOND, seconds, seen.reads, seen.failures),
            _steadily(self.upload, UPLOADS_PER_SECOND, seconds, seen.uploads, seen.failures),
            _steadily(self.login, LOGINS_PER_SECOND, seconds, seen.logins, seen.failures),
        )
        return seen


def reading(
    channel: grpc.aio.Channel, server: str, file_id: str, metadata: Callable[[], Awaitable[Any]]
) -> Call:
    """GetFile of one file at `storage`, `query` or `admin`."""
    storage: Any = storage_pb2_grpc.StorageServiceStub(channel)
    query: Any = query_pb2_grpc.QueryServiceStub(channel)
    admin: Any = registry_pb2_grpc.FileRegistryServiceStub(channel)
    calls = {
        "storage": (storage, storage_pb2.StorageServiceGetFileRequest),
        "query": (query, query_pb2.QueryServiceGetFileRequest),
        "admin": (admin, registry_pb2.FileRegistryServiceGetFileRequest),
    }
    stub, request = calls[server]

    async def read() -> None:
        await stub.GetFile(
            request(file_id=file_id), metadata=await metadata(), timeout=DEADLINE_SECONDS
        )

    return read


def uploading(client: Client) -> Call:
    """A small upload, as the client library makes it."""

    async def upload() -> None:
        await client.upload(os.urandom(UPLOAD_BYTES), name="of-others.bin")

    return upload


def logging_in(channel: grpc.aio.Channel, client_id: str, client_secret: str) -> Call:
    """A login with the right secret."""
    tokens: Any = tokens_pb2_grpc.TokenServiceStub(channel)
    request = tokens_pb2.IssueTokenRequest(client_id=client_id, client_secret=client_secret)

    async def login() -> None:
        await tokens.IssueToken(request, timeout=DEADLINE_SECONDS)

    return login


async def _steadily(
    call: Call, per_second: float, seconds: float, took: list[float], failures: list[str]
) -> None:
    async def one(due: float) -> None:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            failures.append(f"{error.code().name}: {error.details()}")
        except ArtStoreError as error:
            failures.append(str(error))
        else:
            took.append(time.perf_counter() - due)

    begin = time.perf_counter()
    tasks = []
    for number in range(max(1, int(per_second * seconds))):
        due = begin + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
