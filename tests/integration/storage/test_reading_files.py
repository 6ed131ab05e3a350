"""Ranges, lists, batches, and answers from the sidecar where the cache has none."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import asyncpg
import grpc
import pytest

from artstore.v1 import cache_pb2, cache_pb2_grpc, downloads_pb2, storage_pb2, types_pb2
from storage_server.domain.file_id import new_file_id
from storage_server.element.opening import Opening
from tests.support.storage_rig import CHUNK, Node, Rig, noise

Code = grpc.StatusCode
SIZE = 2 * CHUNK + 100


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (1, CHUNK),
        (CHUNK - 1, 2),
        (CHUNK, CHUNK),
        (SIZE - 1, 0),
        (SIZE, 0),
        (SIZE, 10),
        (10, 10 * SIZE),
    ],
)
async def test_a_range_is_exactly_those_bytes(shared: Node, offset: int, length: int) -> None:
    data = noise(SIZE)
    file = (await shared.upload(data)).file
    end = offset + length if length else SIZE
    assert await shared.download(file.file_id, offset, length) == data[offset:end]


@pytest.mark.parametrize(
    ("offset", "length", "code"),
    [
        (6, 0, Code.OUT_OF_RANGE),
        (-1, 0, Code.INVALID_ARGUMENT),
        (0, -1, Code.INVALID_ARGUMENT),
    ],
)
async def test_a_bad_range_is_refused(
    shared_local: Node, offset: int, length: int, code: Code
) -> None:
    file = (await shared_local.upload(b"12345")).file
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.download(file.file_id, offset, length)
    assert error.value.code() == code


async def test_a_missing_or_short_blob_is_data_loss(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"12345")).file
        blob = local_rig.root / file.storage_path / file.storage_filename
        blob.write_bytes(b"123")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.download(file.file_id)
        assert error.value.code() == Code.DATA_LOSS
        blob.unlink()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.download(file.file_id)
        assert error.value.code() == Code.DATA_LOSS


async def test_a_download_that_is_left_lets_go_of_the_blob(shared: Node) -> None:
    file = (await shared.upload(noise(8 * 1024 * 1024))).file
    for _ in range(80):
        call = shared.stub.Download(
            downloads_pb2.DownloadRequest(file_id=file.file_id),
            metadata=shared.bearer(),
            timeout=10,
        )
        await call.read()
        await call.read()
        call.cancel()
    assert len(await shared.download(file.file_id)) == 8 * 1024 * 1024


@pytest.mark.parametrize(
    "file_id",
    [
        "",
        "nonsense",
        "../../etc/passwd",
        "a\0b",
        "x" * 10_000,
        "01890000-0000-4000-8000-000000000000",
        "ffffffff-ffff-7fff-8fff-ffffffffffff",
        "now",
        "01793a7c-e000-7abc-8def-0123456789ab",  # of 2021
    ],
)
async def test_an_id_that_is_not_there_is_not_found(shared: Node, file_id: str) -> None:
    if file_id == "now":
        file_id = new_file_id(datetime.now(UTC))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.get(file_id)
    assert error.value.code() == Code.NOT_FOUND


async def test_a_list_pages_through_all_files_oldest_first(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        ids = [(await node.upload(original_filename=f"{n}.txt")).file.file_id for n in range(7)]
        seen: list[str] = []
        token = ""
        while True:
            page = await node.list(page_size=3, page_token=token)
            assert page.total_size == 7
            seen += [file.file_id for file in page.files]
            token = page.next_page_token
            if not token:
                break
        assert seen == ids
        assert not page.files[0].cache_expired
        assert page.files[0].HasField("cache_updated_at")
        for wrong in ({"page_size": -1}, {"page_token": "nonsense"}):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await node.list(**wrong)
            assert error.value.code() == Code.INVALID_ARGUMENT
        assert len((await node.list(page_size=100_000)).files) == 7


async def test_a_list_shows_the_namespaces_that_the_token_reads(shared_local: Node) -> None:
    for namespace in ("list-a", "list-b", "list-c"):
        await shared_local.upload(namespace=namespace)
    reader = {"role": "READONLY", "ns_read": ["list-a", "list-b"]}
    page = await shared_local.list(claims=reader)
    assert {file.namespace for file in page.files} == {"list-a", "list-b"}
    page = await shared_local.list(namespace="list-b", claims=reader)
    assert [file.namespace for file in page.files] == ["list-b"]
    assert page.total_size == 1
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared_local.list(namespace="list-c", claims=reader)
    assert error.value.code() == Code.PERMISSION_DENIED


async def test_a_batch_answers_in_order_and_names_what_is_missing(shared: Node) -> None:
    ids = [(await shared.upload()).file.file_id for _ in range(3)]
    missing = new_file_id(datetime.now(UTC))
    asked = [ids[2], missing, ids[0], "nonsense", ids[2]]
    answer = await shared.call("BatchGetFiles", storage_pb2.BatchGetFilesRequest(file_ids=asked))
    assert [file.file_id for file in answer.files] == [ids[2], ids[0], ids[2]]
    assert list(answer.missing_file_ids) == [missing, "nonsense"]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await shared.call("BatchGetFiles", storage_pb2.BatchGetFilesRequest(file_ids=ids * 400))
    assert error.value.code() == Code.INVALID_ARGUMENT


async def _sql(node: Node, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(node.rig.values["database_url"])
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def test_a_missing_row_is_put_back_from_the_sidecar(rig: Rig) -> None:
    async with rig.running() as node:
        file = (await node.upload(b"12345", description="kept")).file
        await _sql(node, "DELETE FROM storage_elem_01_files")
        found = await node.get(file.file_id)
        assert (found.description, found.cache_stale) == ("kept", False)
        assert await node.download(file.file_id) == b"12345"
        assert (await node.list()).total_size == 1
        element = await node.element()
        assert (element.used_bytes, element.file_count) == (5, 1)


async def test_an_expired_row_is_read_again_from_the_sidecar(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(description="old")).file
        path = local_rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
        path.write_bytes(path.read_bytes().replace(b'"old"', b'"by hand"'))
        assert (await node.get(file.file_id)).description == "old"
        await _sql(
            node, "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"
        )
        assert (await node.list()).files[0].cache_expired
        found = await node.get(file.file_id)
        assert (found.description, found.cache_expired) == ("by hand", False)
        assert (await node.list()).files[0].description == "by hand"


async def test_an_expired_row_that_is_still_right_is_only_renewed(shared: Node) -> None:
    file = (await shared.upload()).file
    await _sql(
        shared,
        "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"
        " WHERE file_id = $1",
        file.file_id,
    )
    before = (await shared.element()).head_position
    found = await shared.get(file.file_id)
    assert not found.cache_expired
    assert found.cache_updated_at.seconds > time.time() - 60
    assert (await shared.element()).head_position == before


async def test_a_row_whose_sidecar_is_gone_is_not_found_once_it_is_looked_at(
    local_rig: Rig,
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
        path = local_rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
        path.unlink()
        await _sql(
            node, "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.get(file.file_id)
        assert error.value.code() == Code.NOT_FOUND


async def test_a_damaged_sidecar_leaves_the_row_stale(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(description="row")).file
        path = local_rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
        path.write_bytes(b"{")
        await _sql(
            node, "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"
        )
        found = await node.get(file.file_id)
        assert (found.description, found.cache_stale) == ("row", True)


EXPIRE = "UPDATE storage_elem_01_files SET cache_updated_at = now() - interval '48 h'"


@pytest.mark.parametrize(
    "damage",
    [
        "storage_path = '../../etc'",
        "storage_filename = '.'",
        "storage_filename = repeat('x', 300)",
    ],
)
async def test_a_row_that_names_no_place_of_the_store_is_healed_from_the_id(
    shared_local: Node, damage: str
) -> None:
    file = (await shared_local.upload(b"12345")).file
    where = f" WHERE file_id = '{file.file_id}'"
    await _sql(shared_local, f"{EXPIRE}, {damage}{where}")
    found = await shared_local.get(file.file_id)
    assert (found.storage_path, found.storage_filename) == (
        file.storage_path,
        file.storage_filename,
    )
    assert not found.cache_expired
    await _sql(shared_local, f"UPDATE storage_elem_01_files SET {damage}{where}")
    request = storage_pb2.UpdateFileRequest(file_id=file.file_id, file=types_pb2.File(version="2"))
    updated = (await shared_local.call("UpdateFile", request)).file
    assert (updated.version, updated.storage_path) == ("2", file.storage_path)
    await _sql(shared_local, f"UPDATE storage_elem_01_files SET {damage}{where}")
    await shared_local.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))


@pytest.mark.parametrize("lie", ["storage_path", "file_id"])
async def test_what_a_check_calls_invalid_is_not_answered_as_fresh(
    local_rig: Rig, lie: str
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(description="row")).file
        path = local_rig.root / file.storage_path / f"{file.storage_filename}.attr.json"
        truth = getattr(file, lie).encode()
        other = b"2020/01/01/00" if lie == "storage_path" else new_file_id(_now()).encode()
        lying = path.read_bytes().replace(b'"%s"' % truth, b'"%s"' % other)
        path.write_bytes(lying.replace(b'"row"', b'"lie"'))
        await _sql(node, EXPIRE)
        found = await node.get(file.file_id)
        assert (found.description, found.cache_stale) == ("row", True)
        await _sql(node, "DELETE FROM storage_elem_01_files")
        for call in (
            node.get(file.file_id),
            node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert error.value.code() == Code.DATA_LOSS


async def test_with_its_tables_just_dropped_an_element_answers_from_sidecars(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Opening) -> None:
        """Nobody has noticed yet."""

    async with local_rig.running() as node:
        file = (await node.upload(description="kept")).file
        monkeypatch.setattr(Opening, "_fall_back", nothing)
        await _sql(
            node, "DROP TABLE storage_elem_01_files; DROP SEQUENCE storage_elem_01_fence_seq"
        )
        found = await node.get(file.file_id)
        assert (found.description, found.cache_stale) == ("kept", True)
        cache = cache_pb2_grpc.CacheServiceStub(node.channel)
        for call in (
            cache.RebuildCache(cache_pb2.RebuildCacheRequest(), metadata=node.bearer()),
            node.list(),
            node.upload(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert error.value.code() == Code.UNAVAILABLE


async def test_of_two_sidecars_with_one_id_the_valid_one_is_found(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(description="good")).file
        folder = local_rig.root / file.storage_path
        (folder / f"0_{file.storage_filename}.attr.json").write_bytes(b"{")
        await _sql(node, "DELETE FROM storage_elem_01_files")
        assert (await node.get(file.file_id)).description == "good"


def _now() -> datetime:
    return datetime.now(UTC)
