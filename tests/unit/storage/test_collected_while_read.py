"""A download whose bytes go while it is under way: where the file went, or that it is lost."""

from __future__ import annotations

import pytest

from mesh.errors import DataLoss, NotFound
from storage_server.domain.sidecar import FileState
from storage_server.files.download import Range
from storage_server.files.erasing import Erasure
from tests.support.memory_element import ALICE
from tests.support.origins import BY_ALICE
from tests.unit.storage.stepping import CONTENT, Pair


@pytest.fixture
async def pair() -> Pair:
    return await Pair.made()


async def opened(pair: Pair) -> Range:
    return await pair.here.downloads.open(pair.file_id, ALICE, offset=0, length=None)


async def read(found: Range) -> bytes:
    assert found.chunks is not None
    return b"".join([chunk async for chunk in found.chunks])


async def test_of_a_source_that_is_collected_it_says_where_the_file_went(pair: Pair) -> None:
    await pair.settled(FileState.MOVED, moved_to="se-02")
    assert await read(await opened(pair)) == CONTENT
    under_way = await opened(pair)
    await pair.here.steps.collecting.to_gone(pair.step(), "se-02")
    with pytest.raises(NotFound) as refused:
        await read(under_way)
    assert refused.value.metadata["moved_to"] == "se-02"


async def test_of_a_file_that_is_erased_it_says_that_there_is_none(pair: Pair) -> None:
    await pair.settled(FileState.ACTIVE)
    under_way = await opened(pair)
    await pair.here.erasing.erase(Erasure(pair.file_id, BY_ALICE))
    with pytest.raises(NotFound):
        await read(under_way)


async def test_bytes_that_are_missing_beside_their_file_are_a_loss(pair: Pair) -> None:
    await pair.settled(FileState.ACTIVE)
    under_way = await opened(pair)
    del pair.here.memory.files[pair.path]
    with pytest.raises(DataLoss) as lost:
        await read(under_way)
    assert lost.value.reason == "BLOB_MISSING"
