"""Bytes for the contract suite, and their way into and out of a store."""

from __future__ import annotations

import functools
import hashlib
import random

import google_crc32c

from storage_server.store.port import SealedBlob, Stage, Store
from tests.support.places import FOLDER

MIB = 1 << 20
CHUNK = 512 * 1024
BLOB = f"{FOLDER}/report_user_20261124T030000_0199c0de-0000-7000-8000-000000000001.pdf"


@functools.lru_cache(maxsize=8)
def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sealed(data: bytes) -> SealedBlob:
    """What sealing `data` must answer."""
    return SealedBlob(len(data), hashlib.sha256(data).hexdigest(), google_crc32c.value(data))


async def feed(stage: Stage, data: bytes, chunk: int = CHUNK) -> None:
    for start in range(0, len(data), chunk):
        await stage.write(data[start : start + chunk])


async def store_blob(store: Store, data: bytes, path: str = BLOB, key: str = "upload-1") -> None:
    stage = await store.open_stage(path, key=key)
    await feed(stage, data)
    assert await stage.seal() == sealed(data)
    await stage.place()
    await stage.close()


async def read(
    store: Store, path: str = BLOB, offset: int = 0, length: int = 0, chunk: int = CHUNK
) -> bytes:
    chunks = store.read_blob(path, offset=offset, length=length, chunk_size=chunk)
    found = [data async for data in chunks]
    assert all(len(data) == chunk for data in found[:-1])
    return b"".join(found)
