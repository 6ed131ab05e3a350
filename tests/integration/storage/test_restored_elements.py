"""An element whose store comes from a backup, beside tables that know what came since."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import cache_pb2, cache_pb2_grpc, storage_pb2
from tests.integration.storage.tables import sql
from tests.support.storage_rig import Node, Rig, noise
from tests.support.waiting import until

Code = grpc.StatusCode


async def test_an_element_starts_on_last_weeks_store_and_serves_what_is_in_it(
    local_rig: Rig, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    async with local_rig.running() as node:
        kept = [(await node.upload(data := noise(1000))).file for _ in range(2)]
        deleted = (await node.upload(b"deleted since")).file
    shutil.copytree(local_rig.root, backup)
    async with local_rig.running() as node:
        await node.call("DeleteFile", storage_pb2.DeleteFileRequest(file_id=deleted.file_id))
        since = (await node.upload(b"since")).file
        half = await node.start_upload(original_filename="half.bin")
        await node.write_upload(half, noise(1000))
        placed = (await node.upload(b"placed")).file
        # As if killed between the sidecar and the row.
        await sql(
            node,
            "INSERT INTO storage_elem_01_pending_writes (file_id, path, kind, request_id)"
            f" VALUES ('{placed.file_id}', '{placed.storage_path}/{placed.storage_filename}"
            ".attr.json', 'created', '')",
        )
        await sql(node, f"DELETE FROM storage_elem_01_files WHERE file_id = '{placed.file_id}'")
    shutil.rmtree(local_rig.root)
    shutil.copytree(backup, local_rig.root)
    async with local_rig.running() as node:
        await until(lambda: _nothing_is_pending(node))
        assert await node.download(kept[-1].file_id) == data
        assert await node.download(deleted.file_id) == b"deleted since"
        await _rebuild(node)
        assert await node.download(deleted.file_id) == b"deleted since"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.download(since.file_id)
        assert error.value.code() in (Code.DATA_LOSS, Code.NOT_FOUND)
        again = (await node.upload(b"and goes on")).file
        assert await node.download(again.file_id) == b"and goes on"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await node.write_upload(half, noise(1000), offset=1000)
        assert error.value.code() in (Code.DATA_LOSS, Code.OUT_OF_RANGE, Code.NOT_FOUND)


async def _rebuild(node: Node) -> None:
    stub: Any = cache_pb2_grpc.CacheServiceStub(node.channel)
    await stub.RebuildCache(cache_pb2.RebuildCacheRequest(), metadata=node.bearer(), timeout=20.0)


async def _nothing_is_pending(node: Node) -> bool:
    return not await sql(node, "SELECT count(*) FROM storage_elem_01_pending_writes")


@pytest.mark.parametrize("form", [str.upper, str.title])
async def test_an_element_file_in_another_case_is_the_elements(
    local_rig: Rig, form: Callable[[str], str]
) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"hello")).file
    found = local_rig.root / "element.json"
    found.rename(found.with_name(form("element.json")))
    async with local_rig.running() as node:
        assert await node.download(file.file_id) == b"hello"
        assert (await node.upload(b"more")).file.size_bytes == 4


async def test_an_element_file_with_a_byte_order_mark_is_read(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file = (await node.upload(b"hello")).file
    found = local_rig.root / "element.json"
    found.write_bytes(b"\xef\xbb\xbf" + found.read_bytes())
    async with local_rig.running() as node:
        assert await node.download(file.file_id) == b"hello"
