"""Reading blobs, whole and in ranges."""

from __future__ import annotations

import contextlib

import pytest

from mesh.errors import DataLoss
from storage_server.store.port import Store
from tests.support.blobs import BLOB, CHUNK, MIB, read, some_bytes, store_blob
from tests.support.places import MAX_CONNECTIONS

SIZE = 3 * MIB + 17


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (0, SIZE),
        (1, CHUNK),
        (CHUNK - 1, 2),
        (SIZE - 1, 1),
        (SIZE - 1, 0),
        (MIB, 0),
        (MIB, MIB),
    ],
)
async def test_range_is_read_exactly(store: Store, offset: int, length: int) -> None:
    data = some_bytes(SIZE)
    await store_blob(store, data)
    end = offset + length if length else SIZE
    assert await read(store, offset=offset, length=length) == data[offset:end]


async def test_range_at_the_end_is_empty(store: Store) -> None:
    await store_blob(store, b"abc")
    assert await read(store, offset=3) == b""


async def test_empty_blob_is_read(store: Store) -> None:
    await store_blob(store, b"")
    assert await read(store) == b""


async def test_missing_blob_is_data_loss(store: Store) -> None:
    with pytest.raises(DataLoss):
        await read(store)
    with pytest.raises(DataLoss):
        await read(store, offset=5, length=5)


async def test_blob_that_ends_early_is_data_loss(store: Store) -> None:
    await store_blob(store, b"abc")
    with pytest.raises(DataLoss):
        await read(store, length=4)
    with pytest.raises(DataLoss):
        await read(store, offset=3, length=1)


async def test_reader_may_leave_at_any_time(store: Store) -> None:
    await store_blob(store, some_bytes(SIZE))
    for _ in range(2 * MAX_CONNECTIONS):
        chunks = store.read_blob(BLOB, offset=0, length=0, chunk_size=CHUNK)
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for _ in chunks:
                break
    assert len(await read(store)) == SIZE


async def test_deleted_blob_is_gone(store: Store) -> None:
    await store_blob(store, b"abc")
    await store.delete_blob(BLOB)
    await store.delete_blob(BLOB)
    assert await store.stat_blob(BLOB) is None
