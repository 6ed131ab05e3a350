"""Reading a blob of a local store: a thread is one chunk ahead of the consumer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from mesh.errors import DataLoss
from storage_server.store.folders import Handle
from storage_server.store.local_files import LocalFiles
from storage_server.store.port import ChunkSize, sizes_of
from storage_server.store.threads import Threads


async def read_blob(
    files: LocalFiles,
    threads: Threads,
    path: str,
    *,
    offset: int,
    length: int,
    chunk_size: ChunkSize,
) -> AsyncIterator[bytes]:
    """See `storage_server.store.port.Store.read_blob`."""
    found = await threads.run(path, files.open_blob, path)
    if found is None:
        raise DataLoss(
            f"{path}: the bytes are gone: put them back from a backup, or remove the file",
            reason="BLOB_MISSING",
        )
    handle, size = found
    end = offset + length if length else size
    next_size = sizes_of(chunk_size)
    if end > size and length:
        raise DataLoss(f"{path}: the bytes end at {size}, not at {end}", reason="BLOB_SHORT")

    def next_chunk() -> asyncio.Future[bytes]:
        return threads.start(_read, handle, offset, min(next_size(), end - offset))

    ahead = next_chunk() if offset < end else None
    while ahead is not None:
        data = await threads.outcome(ahead, path)
        if not data:
            raise DataLoss(f"{path}: the bytes end at {offset}", reason="BLOB_SHORT")
        offset += len(data)
        ahead = next_chunk() if offset < end else None
        yield data


def _read(handle: Handle, offset: int, size: int) -> bytes:
    return os.pread(handle.fd, size, offset)
