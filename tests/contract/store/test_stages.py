"""A blob on its way in: whole or not at all, and resumable by another process."""

from __future__ import annotations

import pytest

from mesh.errors import DataLoss, FailedPrecondition, InvalidArgument, OutOfRange
from storage_server.store.port import StagedState, Store
from tests.support.blobs import BLOB, CHUNK, MIB, feed, read, sealed, some_bytes, store_blob
from tests.support.places import Place

PART = 8 * MIB


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, PART, 2 * PART + 12345])
async def test_blob_arrives_byte_for_byte_with_its_digests(store: Store, size: int) -> None:
    data = some_bytes(size)
    await store_blob(store, data)
    assert await read(store) == data
    assert await store.stat_blob(BLOB) == size


async def test_odd_pieces_make_the_same_blob(store: Store) -> None:
    data = some_bytes(PART + 77_777)
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data, 99_991)
    assert stage.offset == len(data)
    assert await stage.seal() == sealed(data)
    await stage.place()
    assert await read(store) == data


async def test_nothing_is_left_of_the_way(place: Place, store: Store) -> None:
    await store_blob(store, some_bytes(2 * PART + 5))
    assert await store.list_stages() == []
    assert place.paths() == {BLOB}


async def test_sealing_and_placing_twice_is_the_same(store: Store) -> None:
    data = some_bytes(CHUNK)
    stage = await store.open_stage(BLOB, key="upload-1")
    await stage.write(data)
    assert await stage.seal() == await stage.seal()
    await stage.place()
    await stage.place()
    assert await read(store) == data


async def test_a_stage_that_rests_goes_on_where_it_was(store: Store) -> None:
    data = some_bytes(PART + MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    stage.rest()
    await feed(stage, data[:MIB])
    await stage.checkpoint()
    stage.rest()
    stage.rest()
    await feed(stage, data[MIB:])
    stage.rest()
    assert await stage.seal() == sealed(data)
    stage.rest()
    await stage.place()
    assert await read(store) == data


async def test_unsealed_stage_cannot_be_placed(store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    with pytest.raises(FailedPrecondition):
        await stage.place()


async def test_upload_goes_on_in_another_process(place: Place) -> None:
    data = some_bytes(3 * PART + 4321)
    first = await place.open()
    stage = await first.open_stage(BLOB, key="upload-1")
    await feed(stage, data[: 2 * PART + 100])
    state = await stage.checkpoint()
    assert 2 * PART <= state.committed_size_bytes <= 2 * PART + 100
    await stage.write(b"never recorded")
    await first.close()

    second = await place.open()
    stage = await second.open_stage(BLOB, resume=state)
    assert stage.offset == state.committed_size_bytes
    await feed(stage, data[stage.offset :])
    assert await stage.seal() == sealed(data)
    await stage.place()
    assert await read(second) == data


async def test_commit_goes_on_after_a_crash_between_placing_and_sidecar(place: Place) -> None:
    data = some_bytes(PART + 9)
    first = await place.open()
    stage = await first.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    state = await stage.checkpoint()
    await stage.seal()
    await stage.place()
    await first.close()

    second = await place.open()
    stage = await second.open_stage(BLOB, resume=state)
    assert stage.offset == len(data)
    assert await stage.seal() == sealed(data)
    await stage.place()
    assert await read(second) == data
    with pytest.raises(FailedPrecondition):
        await stage.write(b"more")


async def test_lost_bytes_are_not_taken_for_sent(place: Place, store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(PART))
    state = await stage.checkpoint()
    await stage.discard()
    with pytest.raises(DataLoss):
        await store.open_stage(BLOB, resume=state)


async def test_fewer_bytes_than_recorded_are_not_taken_for_sent(store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(PART))
    state = await stage.checkpoint()
    more = (*state.parts, (2, "etag", PART, 0)) if state.parts else ()
    with pytest.raises(DataLoss):
        await store.open_stage(BLOB, resume=StagedState(state.key, 2 * PART, more))


@pytest.mark.parametrize("to", [0, 5, PART, PART + 10])
async def test_cut_stage_takes_other_bytes_from_there(store: Store, to: int) -> None:
    data = some_bytes(PART + MIB)
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    await stage.truncate(to)
    assert stage.offset <= to
    other = data[: stage.offset] + some_bytes(PART, seed=2)
    await feed(stage, other[stage.offset :])
    assert await stage.seal() == sealed(other)
    await stage.place()
    assert await read(store) == other


async def test_cut_stage_checkpoints_what_it_has(place: Place) -> None:
    data = some_bytes(2 * PART + 3)
    store = await place.open()
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, data)
    await stage.truncate(PART)
    state = await stage.checkpoint()
    assert state.committed_size_bytes == PART
    stage = await (await place.open()).open_stage(BLOB, resume=state)
    assert stage.offset == PART


async def test_stage_cannot_be_cut_beyond_its_end(store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await stage.write(b"abc")
    with pytest.raises(OutOfRange):
        await stage.truncate(4)


async def test_discarded_stage_leaves_nothing(place: Place, store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(2 * PART))
    await stage.checkpoint()
    await stage.write(b"x")
    await stage.discard()
    await stage.discard()
    assert place.paths() == set()


@pytest.mark.parametrize("size", [5, 2 * PART])
async def test_discarding_a_placed_blob_removes_it(place: Place, store: Store, size: int) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(size))
    await stage.seal()
    await stage.place()
    await stage.discard()
    assert place.paths() == set()


async def test_discarding_never_removes_a_blob_with_a_sidecar(store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await stage.write(b"precious")
    await stage.seal()
    await stage.place()
    await store.write_sidecar(BLOB + ".attr.json", b"{}", expected=None)
    await stage.discard()
    assert await read(store) == b"precious"


async def test_newer_stage_takes_the_upload_over(store: Store) -> None:
    data = some_bytes(PART)
    older = await store.open_stage(BLOB, key="upload-1")
    await feed(older, data)
    state = await older.checkpoint()
    newer = await store.open_stage(BLOB, resume=state)
    with pytest.raises(FailedPrecondition):
        await older.write(b"too late")
    assert await newer.seal() == sealed(data)


async def test_stages_are_listed_and_swept(place: Place, store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(PART))
    state = await stage.checkpoint()
    await store.close()

    store = await place.open()
    ((key, path, age),) = await store.list_stages()
    assert key == state.key
    assert path in ("", BLOB)
    assert age >= 0
    await store.discard_stage(key, BLOB)
    await store.discard_stage(key, BLOB)
    assert await store.list_stages() == []
    assert place.paths() == set()


async def test_sweeping_a_stage_leaves_the_file_it_became(store: Store) -> None:
    stage = await store.open_stage(BLOB, key="upload-1")
    await feed(stage, some_bytes(PART))
    state = await stage.checkpoint()
    await stage.seal()
    await stage.place()
    await store.discard_stage(state.key, BLOB)
    assert await store.stat_blob(BLOB) == PART


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/\0", ".keep"])
async def test_path_out_of_the_store_is_refused(place: Place, store: Store, path: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.open_stage(path, key="upload-1")
    with pytest.raises(InvalidArgument):
        await store.read_sidecar(path)
    with pytest.raises(InvalidArgument):
        await store.delete_blob(path)
    with pytest.raises(InvalidArgument):
        await read(store, path)
    assert place.paths() == set()
