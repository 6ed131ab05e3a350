"""Files far larger than the memory that a server may take for them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from artstore.v1 import downloads_pb2, query_pb2
from artstore_client import Client
from tests.faults.memory import watched
from tests.support.caller import INGEST, Caller
from tests.support.mesh import MeshProcess
from tests.support.waiting import until_answered

pytestmark = pytest.mark.timeout(300)

MEBIBYTE = 2**20
# The floor of the design, for growth in every server and any size of file.
MOST_GROWTH = 200 * MEBIBYTE
ELEMENT, QUERY = "se-01", "query"
# Odd, so that a part of S3 never begins where a block does.
BLOCK = random.Random(5).randbytes(MEBIBYTE + 11)

# Three times what they may take shows that they do not keep it.
SIZES = [
    pytest.param(3 * MOST_GROWTH, id="600 MiB"),
    pytest.param(
        5 * 1024 * MEBIBYTE, id="5 GiB", marks=[pytest.mark.full, pytest.mark.timeout(900)]
    ),
]
# Each way and each store once in `make test`, all pairs of them in `make test-full`.
FULL_LOCAL, FULL_S3 = (pytest.param(name, marks=pytest.mark.full) for name in ("local", "s3"))


async def blocks(size: int, digest: Any) -> AsyncIterator[bytes]:
    """`size` bytes that no place on a disk has to hold."""
    left = size
    while left > 0:
        block = BLOCK[:left]
        await asyncio.to_thread(digest.update, block)
        yield block
        left -= len(block)


async def digest_of(stream: AsyncIterator[bytes]) -> tuple[int, str]:
    """Size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    async for data in stream:
        await asyncio.to_thread(digest.update, data)
        size += len(data)
    return size, digest.hexdigest()


def download_of(caller: Caller) -> dict[str, Any]:
    """Keyword arguments of a call that has minutes."""
    return {"metadata": caller.metadata, "timeout": 600}


async def is_indexed(caller: Caller, file_id: str) -> bool:
    """Whether query knows the file; raises its status while it does not."""
    request = query_pb2.QueryServiceGetFileRequest(file_id=file_id)
    await caller.query.GetFile(request, **caller.auth)
    return True


async def chunks_of(call: Any) -> AsyncIterator[bytes]:
    """The chunks of a download, from an element or by query."""
    async for message in call:
        if message.WhichOneof("payload") == "chunk":
            yield message.chunk.data


@pytest.fixture
def connect(mesh: MeshProcess, tmp_path: Path) -> Callable[[], Client]:
    """The client library on the mesh, with a memory of its own for unfinished uploads."""
    return lambda: Client.connect(mesh_file=mesh.mesh_file, state_folder=tmp_path)


@pytest.mark.parametrize("mesh", ["local", FULL_S3], indirect=True)
@pytest.mark.parametrize("size", SIZES)
async def test_one_stream_through_ingest_takes_little_memory_up_and_down(
    mesh: MeshProcess, caller: Caller, connect: Callable[[], Client], size: int
) -> None:
    sent = hashlib.sha256()
    with watched(mesh, INGEST, ELEMENT, QUERY) as growth:
        async with connect() as client:
            # An iterator cannot be sought, so it goes in one stream.
            uploaded = await client.upload(blocks(size, sent), name="large.bin")
        file = uploaded.file
        assert (file.storage_element_id, file.size_bytes) == (ELEMENT, size)
        assert file.sha256 == sent.hexdigest()
        call = caller.storage(ELEMENT).Download(
            downloads_pb2.DownloadRequest(file_id=file.file_id), **download_of(caller)
        )
        assert await digest_of(chunks_of(call)) == (size, file.sha256)
    assert growth.looks > 10
    assert max(growth.most.values()) <= MOST_GROWTH, growth.most


@pytest.mark.parametrize("mesh", [FULL_LOCAL, "s3"], indirect=True)
@pytest.mark.parametrize("size", SIZES)
async def test_resumable_upload_and_download_by_query_take_little_memory(
    mesh: MeshProcess, caller: Caller, connect: Callable[[], Client], tmp_path: Path, size: int
) -> None:
    source = tmp_path / "large.bin"

    def make() -> str:
        # A hole of the file system: read as zeros, and as quick as memory.
        with source.open("wb") as file:
            file.truncate(size - len(BLOCK))
            file.seek(0, 2)
            file.write(BLOCK)
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    sha256 = await asyncio.to_thread(make)
    with watched(mesh, INGEST, ELEMENT, QUERY) as growth:
        async with connect() as client:
            uploaded = await client.upload(source)
        file = uploaded.file
        assert (file.storage_element_id, file.size_bytes, file.sha256) == (ELEMENT, size, sha256)
        await until_answered(lambda: is_indexed(caller, file.file_id), 10, "query knows the file")
        call = caller.query.DownloadFile(
            downloads_pb2.DownloadRequest(file_id=file.file_id), **download_of(caller)
        )
        assert await digest_of(chunks_of(call)) == (size, sha256)
    assert growth.looks > 10
    assert max(growth.most.values()) <= MOST_GROWTH, growth.most
