"""element.json: made at a first start only, and nothing is believed without it."""

from __future__ import annotations

import secrets
import shutil

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from artstore.v1 import storage_pb2
from tests.support.backdoor import S3Backdoor
from tests.support.services import S3Process
from tests.support.storage_process import Process
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until

Code = grpc.StatusCode
STORAGE = "artstore.v1.StorageService"
ALL_TABLES = ("files", "feed", "feed_head", "uploads", "pending_writes", "fences")


async def _health(node: Node, service: str = STORAGE) -> int:
    stub = health_pb2_grpc.HealthStub(node.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status


def _is(node: Node, status: int, service: str = STORAGE):
    async def asked() -> bool:
        return await _health(node, service) == status

    return asked


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _unavailable(call) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.UNAVAILABLE


async def test_a_first_start_makes_it_and_a_second_keeps_it(rig: Rig) -> None:
    async with rig.running(mode="rw") as node:
        store_id = (await node.element()).store_id
        assert len(store_id) == 36
    async with rig.running(mode="edit") as node:
        element = await node.element()
        assert element.store_id == store_id
        assert element.is_writer
        assert element.writable


async def test_a_known_element_without_it_is_unavailable_and_never_makes_it_again(
    local_rig: Rig,
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
    shutil.rmtree(local_rig.root)
    async with local_rig.running() as node:
        await until(_is(node, NOT_SERVING))
        await _unavailable(node.upload())
        await _unavailable(node.download(file.file_id))
        await _unavailable(
            node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
        )
        # The cache still answers what it knows.
        assert (await node.get(file.file_id)).file_id == file.file_id
        assert not (await node.element()).writable
        assert not (local_rig.root / "element.json").exists()


async def test_a_store_that_is_mounted_later_is_taken_up(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
    hidden = local_rig.folder / "hidden"
    local_rig.root.rename(hidden)
    async with local_rig.running() as node:
        await until(_is(node, NOT_SERVING))
        shutil.rmtree(local_rig.root, ignore_errors=True)
        hidden.rename(local_rig.root)
        await until(_is(node, SERVING))
        assert await node.download(file.file_id) == b"hello"

        async def writes() -> bool:
            return (await node.element()).writable

        await until(writes)
        await node.upload()


async def test_a_store_that_vanishes_while_running_loses_no_file(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
        hidden = local_rig.folder / "hidden"
        local_rig.root.rename(hidden)
        local_rig.root.mkdir()
        await _unavailable(node.download(file.file_id))
        await _unavailable(node.upload())
        await until(_is(node, NOT_SERVING))
        shutil.rmtree(local_rig.root)
        hidden.rename(local_rig.root)
        await until(_is(node, SERVING))
        assert await node.download(file.file_id) == b"hello"


async def test_another_bucket_is_unavailable_until_the_operator_gives_his_word(
    s3_rig: Rig, s3_server: S3Process
) -> None:
    """A bucket made by the element itself is empty, and would look like the loss of all files."""
    async with s3_rig.running() as node:
        file = (await node.upload()).file
    s3_rig.values["s3_bucket"] = other = f"other-{secrets.token_hex(4)}"
    async with s3_rig.running() as node:
        await until(_is(node, NOT_SERVING))
        await _unavailable(node.upload())
        await _unavailable(node.start_upload())
        await _unavailable(node.download(file.file_id))
        await _unavailable(
            node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file.file_id))
        )
        assert (await node.get(file.file_id)).file_id == file.file_id
    bucket = S3Backdoor(s3_server.client(), other, s3_rig.root.name)
    assert not bucket.all()
    process = Process(s3_rig)
    try:
        for arguments in (["--adopt"], []):
            process.start(*arguments)
            async with process.node() as node:
                await node.upload()
            process.kill()
    finally:
        process.kill()
    assert "element.json" in bucket.all()


async def test_a_foreign_store_is_unavailable(local_rig: Rig) -> None:
    async with local_rig.running():
        pass
    path = local_rig.root / "element.json"
    content = orjson.loads(path.read_bytes()) | {"element_id": "se-09"}
    path.write_bytes(orjson.dumps(content))
    async with local_rig.running() as node:
        await until(_is(node, NOT_SERVING))
        await _unavailable(node.upload())
    assert orjson.loads(path.read_bytes())["element_id"] == "se-09"
    async with local_rig.running(adopt=True) as node:
        await node.upload()
    assert orjson.loads(path.read_bytes())["element_id"] == "se-01"


async def test_a_store_with_files_and_without_tables_needs_the_operators_word(
    local_rig: Rig, database_url: str
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload()).file
    (local_rig.root / "element.json").unlink()
    async with local_rig.running(store_table="another_") as node:
        await _unavailable(node.upload())
    async with local_rig.running(store_table="another_", adopt=True) as node:
        assert await node.download(file.file_id) == b"hello"
        await node.upload()


@pytest.mark.parametrize(
    "loss",
    [
        [f"DROP TABLE storage_elem_01_{table}" for table in ALL_TABLES],
        ["TRUNCATE storage_elem_01_feed_head"],
    ],
    ids=["all tables", "the head's row"],
)
async def test_lost_tables_are_made_anew_while_running(local_rig: Rig, loss: list[str]) -> None:
    import asyncpg

    async with local_rig.running() as node:
        file = (await node.upload()).file
        epoch = (await node.element()).epoch
        connection = await asyncpg.connect(local_rig.values["database_url"])
        for statement in loss:
            await connection.execute(statement)
        await connection.close()

        async def anew() -> bool:
            try:
                element = await node.element()
            except grpc.aio.AioRpcError:
                return False
            return element.writable and element.epoch not in ("", epoch)

        await until(anew)
        assert await node.download(file.file_id) == b"hello"
        await node.upload()
