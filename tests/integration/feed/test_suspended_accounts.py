"""A suspension bites on all four kinds of server: calls under way, new ones, and after restarts."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import (
    accounts_pb2,
    changes_pb2,
    downloads_pb2,
    elements_pb2,
    query_pb2,
    storage_pb2,
    types_pb2,
    uploads_pb2,
)
from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.caller import Ending, ended, ending_of
from tests.support.services import ValkeyProcess
from tests.support.waiting import until, until_answered

MIB = 2**20
# What the contract allows for.
SECONDS = 30.0


@pytest.fixture
async def mesh(
    tmp_path: Path, database_url: str, own_valkey: ValkeyProcess
) -> AsyncIterator[SmallMesh]:
    async with small_mesh(tmp_path, database_url, own_valkey.url) as made:
        await made.start_ingest()
        yield made


class Mallory:
    """An account of role ADMIN that is about to be suspended, and its calls."""

    def __init__(self, mesh: SmallMesh, token: str) -> None:
        self.mesh = mesh
        self.auth = {"metadata": mesh.bearer(token)}

    @classmethod
    async def of(cls, mesh: SmallMesh) -> Mallory:
        made = await mesh.admin.accounts.CreateServiceAccount(
            accounts_pb2.CreateServiceAccountRequest(
                client_id="mallory", role=accounts_pb2.ROLE_ADMIN, namespaces=["*"]
            ),
            **await mesh.admin.as_("admin"),
        )
        cls.secret = made.client_secret
        return cls(mesh, await mesh.admin.issue("mallory", made.client_secret))

    async def streams(self, file_id: str) -> dict[str, Any]:
        """One open call of each kind on each server, begun and not about to end by itself."""
        element, download = self.mesh.elements["se-01"].stub, downloads_pb2.DownloadRequest
        started = await self.mesh.ingest.StartUpload(
            uploads_pb2.StartUploadRequest(header=header()), timeout=10, **self.auth
        )
        token = (*self.auth["metadata"], ("artstore-upload-token", started.upload_token))
        calls = {
            "admin watch": self.mesh.admin.elements.WatchStorageElements(
                elements_pb2.WatchStorageElementsRequest(), **self.auth
            ),
            "element watch": element.WatchChanges(changes_pb2.WatchChangesRequest(), **self.auth),
            "element download": element.Download(download(file_id=file_id), **self.auth),
            "element upload": element.Upload(**self.auth),
            "ingest upload": self.mesh.ingest.Upload(**self.auth),
            "ingest write": self.mesh.ingest.WriteUpload(metadata=token),
            "query download": self.mesh.query.DownloadFile(download(file_id=file_id), **self.auth),
        }
        for name, call in calls.items():
            if name.endswith("upload"):
                await call.write(uploads_pb2.UploadRequest(header=header()))
                await call.initial_metadata()
                await call.write(uploads_pb2.UploadRequest(chunk=chunk()))
            elif name.endswith("write"):
                await call.write(
                    uploads_pb2.WriteUploadRequest(upload_id=started.upload_id, chunk=chunk())
                )
                await call.initial_metadata()
            else:
                await call.read()
        return calls

    def new_calls(self, file_id: str) -> Mapping[str, Any]:
        """One of each server, by name."""
        element = self.mesh.elements["se-01"].stub
        auth = {**self.auth, "timeout": 10}
        return {
            "admin": lambda: self.mesh.admin.elements.ListStorageElements(
                elements_pb2.ListStorageElementsRequest(), **auth
            ),
            "se-01": lambda: element.GetFile(
                storage_pb2.StorageServiceGetFileRequest(file_id=file_id), **auth
            ),
            "ingest": lambda: self.mesh.ingest.StartUpload(
                uploads_pb2.StartUploadRequest(header=header()), **auth
            ),
            "query": lambda: self.mesh.query.SearchFiles(query_pb2.SearchFilesRequest(), **auth),
        }


def header() -> uploads_pb2.UploadHeader:
    return uploads_pb2.UploadHeader(original_filename="a.bin", size_bytes=10 * MIB)


def chunk() -> types_pb2.Chunk:
    return types_pb2.Chunk(offset=0, data=b"x" * 1000)


async def end_of(call: Any) -> Ending:
    if hasattr(call, "read"):
        try:
            # Slower than the file is long.
            while await call.read() is not grpc.aio.EOF:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        except grpc.aio.AioRpcError as error:
            return ending_of(error, 0.0)
        return Ending(grpc.StatusCode.OK)
    return await ended(call)


async def set_suspended(mesh: SmallMesh, suspended: bool) -> None:
    request = accounts_pb2.SuspendServiceAccountRequest(client_id="mallory")
    if suspended:
        await mesh.admin.accounts.SuspendServiceAccount(request, **await mesh.admin.as_("admin"))
        return
    await mesh.admin.accounts.ResumeServiceAccount(
        accounts_pb2.ResumeServiceAccountRequest(client_id="mallory"),
        **await mesh.admin.as_("admin"),
    )


async def refused_everywhere(mallory: Mallory, file_id: str, *, but: str = "") -> None:
    for name, call in mallory.new_calls(file_id).items():
        if name != but:
            ending = await ended(call())
            assert (ending.name, ending.reason) == ("UNAUTHENTICATED", "ACCOUNT_SUSPENDED"), name


@pytest.mark.parametrize("with_redis", [True, False])
async def test_everything_of_a_suspended_account_ends_on_every_server(
    mesh: SmallMesh, own_valkey: ValkeyProcess, with_redis: bool
) -> None:
    stored = await mesh.elements["se-01"].upload(os.urandom(32 * MIB))
    file_id = stored.file.file_id
    mallory = await Mallory.of(mesh)
    await until_answered(lambda: ended_ok(mallory.new_calls(file_id)["query"]), 10, "a search")
    calls = await mallory.streams(file_id)
    if not with_redis:
        own_valkey.stop()
    began = time.monotonic()
    await set_suspended(mesh, True)
    async with asyncio.timeout(SECONDS):
        endings = await asyncio.gather(*map(end_of, calls.values()))
    assert time.monotonic() - began < SECONDS
    told = {name: (one.name, one.reason) for name, one in zip(calls, endings, strict=True)}
    assert told == dict.fromkeys(calls, ("UNAUTHENTICATED", "ACCOUNT_SUSPENDED"))
    await refused_everywhere(mallory, file_id)

    # Whoever starts again asks nobody, and remembers.
    await mesh.stop("query")
    await mesh.stop("ingest")
    await mesh.stop("se-01")
    port = mesh.admin.server.port
    await mesh.stop("admin")
    if with_redis:
        own_valkey.stop()
    await mesh.start_element("se-01")
    await mesh.start_ingest()
    await mesh.start_query()
    await refused_everywhere(mallory, file_id, but="admin")

    await mesh.start_admin(port=port)
    await refused_everywhere(mallory, file_id)
    await set_suspended(mesh, False)

    async def all_work() -> bool:
        calls = mallory.new_calls(file_id)
        return all([await ended_ok(calls[name]) for name in ("admin", "se-01", "query")])

    await until(all_work, SECONDS)


async def ended_ok(call: Any) -> bool:
    return (await ended(call())).name == "OK"


async def test_servers_that_do_not_reach_admin_hear_of_it_through_redis(mesh: SmallMesh) -> None:
    stored = await mesh.elements["se-01"].upload(b"abc")
    mallory = await Mallory.of(mesh)
    await mesh.stop("query")
    # Nobody is there.
    await mesh.start_query(admin_endpoint="localhost:1")
    search = mallory.new_calls(stored.file.file_id)["query"]
    await until(lambda: ended_ok(search))
    await set_suspended(mesh, True)

    async def refused() -> bool:
        return (await ended(search())).reason == "ACCOUNT_SUSPENDED"

    await until(refused, SECONDS)


async def test_a_deleted_account_has_no_token_any_more(mesh: SmallMesh) -> None:
    stored = await mesh.elements["se-01"].upload(b"abc")
    mallory = await Mallory.of(mesh)
    await mesh.admin.accounts.DeleteServiceAccount(
        accounts_pb2.DeleteServiceAccountRequest(client_id="mallory"),
        **await mesh.admin.as_("admin"),
    )
    for name, call in mallory.new_calls(stored.file.file_id).items():

        async def refused(call: Any = call) -> bool:
            return (await ended(call())).reason == "TOKEN_WITHDRAWN"

        await until(refused, SECONDS), name
    # One of the same name is another account.
    again = await Mallory.of(mesh)
    for call in again.new_calls(stored.file.file_id).values():
        assert await ended_ok(call)
