"""What each mode allows, how it changes, and how open uploads end with it."""

from __future__ import annotations

from typing import Any

import asyncpg
import grpc
import orjson
import pytest

from artstore.v1 import elements_pb2, storage_pb2, types_pb2, uploads_pb2
from storage_server.element import mode_change
from tests.support.storage_rig import Node, Rig, accepted, chunk_of, noise
from tests.support.waiting import until

Code = grpc.StatusCode
EDIT, RW, RO, AR = (
    types_pb2.ELEMENT_MODE_EDIT,
    types_pb2.ELEMENT_MODE_RW,
    types_pb2.ELEMENT_MODE_RO,
    types_pb2.ELEMENT_MODE_AR,
)


async def _set(node: Node, mode: Any, **values: Any) -> elements_pb2.StorageElement:
    claims = values.pop("claims", {})
    return (
        await node.call("SetMode", storage_pb2.SetModeRequest(mode=mode, **values), **claims)
    ).element


async def _refused(call: Any, code: Code = Code.FAILED_PRECONDITION) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code


async def test_each_mode_allows_what_the_table_says(rig: Rig) -> None:
    async with rig.running(mode="rw") as node:
        file = (await node.upload(b"12345")).file
        update = storage_pb2.UpdateFileRequest(
            file_id=file.file_id, file=types_pb2.File(description="x")
        )
        delete = storage_pb2.DeleteFileRequest(file_id=file.file_id)
        undelete = storage_pb2.UndeleteFileRequest(file_id=file.file_id)
        await node.call("UpdateFile", update)
        await _refused(node.call("DeleteFile", delete))
        assert (await _set(node, RO)).mode == RO
        await _refused(node.upload())
        await _refused(node.start_upload())
        await _refused(node.call("UpdateFile", update))
        await _refused(node.call("DeleteFile", delete))
        await _refused(node.call("UndeleteFile", undelete))
        assert await node.download(file.file_id) == b"12345"
        assert not (await _set(node, AR)).writable
        await _refused(node.download(file.file_id))
        assert (await node.get(file.file_id)).description == "x"
        assert (await node.list()).total_size == 1


async def test_open_uploads_keep_their_time_over_a_restart(rig: Rig) -> None:
    async with rig.running(mode="rw") as node:
        opened = await node.start_upload()
        await node.write_upload(opened, b"12345")
        await _set(node, RO, drain_seconds=60)
    async with rig.running(mode="rw") as node:
        await node.write_upload(opened, b"12345678")
        answer = await node.commit_upload(opened, size_bytes=8)
        assert await node.download(answer.file.file_id) == b"12345678"


async def test_after_a_restart_they_are_aborted_when_that_time_has_passed(
    local_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_rig.running(mode="rw") as node:
        opened = await node.start_upload()
        await node.write_upload(opened, b"12345")
        await _set(node, RO)
    monkeypatch.setattr(mode_change, "DRAIN_SECONDS", 0.2)
    async with local_rig.running(mode="rw") as node:
        await until(lambda: local_rig.files() == [])
        await _refused(node.commit_upload(opened), Code.NOT_FOUND)


async def test_the_mode_is_kept_in_element_json(local_rig: Rig) -> None:
    async with local_rig.running(mode="rw") as node:
        await _set(node, RO)
    element = orjson.loads((local_rig.root / "element.json").read_bytes())
    assert element["mode"] == "ro"
    assert set(element) == {"element_id", "store_id", "mode"}
    async with local_rig.running(mode="rw") as node:
        assert (await node.element()).mode == RO


@pytest.mark.parametrize(
    ("first", "target", "confirm"),
    [
        ("edit", RW, True),
        ("edit", RO, True),
        ("rw", EDIT, True),
        ("rw", AR, True),
        ("ro", RW, False),
        ("ro", EDIT, True),
        ("ar", RO, True),
        ("ar", RW, True),
    ],
)
async def test_a_step_that_is_not_in_the_table_is_refused(
    local_rig: Rig, first: str, target: Any, confirm: bool
) -> None:
    async with local_rig.running(mode=first) as node:
        await _refused(_set(node, target, confirm=confirm))
        assert (await node.element()).store_id


async def test_back_to_rw_needs_confirm_and_an_admin(local_rig: Rig) -> None:
    async with local_rig.running(mode="ro") as node:
        await _refused(
            _set(node, RW, confirm=True, claims={"role": "USER"}), Code.PERMISSION_DENIED
        )
        assert (await _set(node, RW, confirm=True)).mode == RW
        assert (await _set(node, RW)).mode == RW
        await node.upload()


@pytest.mark.parametrize("values", [{"mode": 0}, {"mode": 99}, {"mode": RO, "drain_seconds": -1}])
async def test_a_mode_that_is_none_is_invalid(local_rig: Rig, values: dict[str, Any]) -> None:
    async with local_rig.running(mode="rw") as node:
        await _refused(_set(node, **values), Code.INVALID_ARGUMENT)


async def test_open_uploads_may_commit_while_the_element_drains(local_rig: Rig) -> None:
    async with local_rig.running(mode="rw") as node:
        opened = await node.start_upload()
        stream = node.open_upload()
        header = uploads_pb2.UploadHeader(original_filename="a.txt")
        await stream.write(uploads_pb2.UploadRequest(header=header))
        assert await accepted(stream)
        await _set(node, RO, drain_seconds=30)
        await node.write_upload(opened, b"12345")
        assert (await node.commit_upload(opened)).file.size_bytes == 5
        await stream.write(uploads_pb2.UploadRequest(chunk=chunk_of(b"123", 0)))
        await stream.write(uploads_pb2.UploadRequest(finish=uploads_pb2.UploadFinish()))
        assert (await stream).file.size_bytes == 3


async def test_after_the_drain_open_uploads_are_gone(local_rig: Rig) -> None:
    async with local_rig.running(mode="rw") as node:
        opened = await node.start_upload()
        await node.write_upload(opened, noise(100_000))
        stream = node.open_upload()
        header = uploads_pb2.UploadHeader(original_filename="a.txt")
        await stream.write(uploads_pb2.UploadRequest(header=header))
        assert await accepted(stream)
        await _set(node, RO, drain_seconds=0)
        await _refused(stream)
        await until(lambda: local_rig.files() == [])

        async def freed() -> bool:
            return (await node.element()).reserved_bytes == 0

        await until(freed)
        await _refused(node.commit_upload(opened), Code.NOT_FOUND)


async def test_rows_get_the_time_to_live_of_the_mode(local_rig: Rig) -> None:
    async with local_rig.running(mode="rw") as node:
        file = (await node.upload()).file
        assert file.cache_ttl_hours == 24
        await _set(node, RO)

        async def renewed() -> bool:
            return (await node.get(file.file_id)).cache_ttl_hours == 168

        await until(renewed)
    async with local_rig.running(cache_ttl_hours=5) as node:
        connection = await asyncpg.connect(local_rig.values["database_url"])

        async def as_set() -> bool:
            query = "SELECT cache_ttl_hours FROM storage_elem_01_files"
            return await connection.fetchval(query) == 5

        await until(as_set)
        await connection.close()
