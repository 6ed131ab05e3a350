"""A download whose reader takes nothing holds nothing of the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest

from mesh.concurrency import unread as module
from mesh.concurrency.unread import Reader, Unread
from storage_server.files.download import Chunks
from tests.support.waiting import until

CONTENT = bytes(range(200))


class Store:
    """Counts what is open."""

    def __init__(self) -> None:
        self.open = 0
        self.opened_at: list[int] = []

    async def read(
        self, offset: int, length: int, size: Callable[[], int]
    ) -> AsyncGenerator[bytes, None]:
        self.open += 1
        self.opened_at.append(offset)
        try:
            for at in range(offset, offset + length, 30):
                yield CONTENT[at : min(at + 30, offset + length)]
        finally:
            self.open -= 1


@pytest.fixture
def store() -> Store:
    return Store()


def chunks_of(store: Store, offset: int, length: int) -> Chunks:
    return Chunks(store.read, offset, length, Reader(Unread()))


async def test_what_is_taken_comes_from_one_reading(store: Store) -> None:
    found = b""
    chunks = chunks_of(store, 10, 150)
    async for data in chunks:
        with chunks.taking(len(data)):
            found += data
    assert found == CONTENT[10:160]
    assert (store.opened_at, store.open) == ([10], 0)


async def test_a_stuck_reader_frees_the_store_and_goes_on_where_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.01)
    chunks = chunks_of(store, 0, 100)
    found = await anext(chunks)
    with chunks.taking(len(found)):
        assert store.open == 1
        await until(lambda: store.open == 0)
    async for data in chunks:
        with chunks.taking(len(data)):
            found += data
    assert found == CONTENT[:100]
    assert store.opened_at == [0, 30]


async def test_one_that_leaves_frees_the_store(store: Store) -> None:
    chunks = chunks_of(store, 0, 100)
    await anext(chunks)
    await chunks.aclose()
    assert store.open == 0
