"""An account's one upload of any size: one in the whole mesh, whoever asks whom and when."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import uploads_pb2
from storage_server.uploads import reserving
from tests.integration.feed.small_mesh import small_mesh
from tests.support.caller import Ending, ended
from tests.support.storage_rig import Node

CAPACITY = 100 * 2**20
BIG, SMALL = CAPACITY * 80 // 100, CAPACITY * 5 // 100
# An element that was refused does not ask again so soon.
REST_SECONDS = 0.05
OK = grpc.StatusCode.OK


async def start(node: Node, size: int) -> Ending:
    return await ended(node.call("StartUpload", _start(size)))


def _start(size: int) -> uploads_pb2.StartUploadRequest:
    return uploads_pb2.StartUploadRequest(
        header=uploads_pb2.UploadHeader(original_filename="a", size_bytes=size)
    )


async def abort(node: Node, started: Any) -> None:
    request = uploads_pb2.AbortUploadRequest(upload_id=started.upload_id, as_owner=True)
    await node.call("AbortUpload", request)


@pytest.fixture(autouse=True)
def asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserving, "REFUSED_SECONDS", REST_SECONDS / 2)


async def test_one_upload_of_any_size_is_open_in_the_whole_mesh(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    names = ("se-01", "se-02")
    async with small_mesh(
        tmp_path, database_url, redis_url, elements=names, query=False, capacity_bytes=CAPACITY
    ) as mesh:
        one, two = mesh.elements["se-01"], mesh.elements["se-02"]
        big = await start(one, BIG)
        assert big.code is OK
        refused = await start(two, BIG)
        assert (refused.reason, refused.has_retry_info) == ("UPLOAD_SHARE", True)
        assert (await start(two, SMALL)).code is OK

        # It is on record: who was killed says the same afterwards.
        await mesh.stop("se-01")
        assert (await start(two, BIG)).reason == "UPLOAD_SHARE"
        one = await mesh.start_element("se-01")
        await asyncio.sleep(REST_SECONDS)
        assert (await start(two, BIG)).reason == "UPLOAD_SHARE"
        await abort(one, big.answer)
        await asyncio.sleep(REST_SECONDS)

        for _ in range(10):
            both = await asyncio.gather(start(one, BIG), start(two, BIG))
            granted = [ending for ending in both if ending.code is OK]
            assert len(granted) == 1
            for node, ending in zip((one, two), both, strict=True):
                if ending.code is OK:
                    await abort(node, ending.answer)
                else:
                    assert ending.reason == "UPLOAD_SHARE"
            await asyncio.sleep(REST_SECONDS)


async def test_one_account_that_asks_for_everything_leaves_room_to_others(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    names, chance = ("se-01", "se-02"), random.Random(7)
    async with small_mesh(
        tmp_path, database_url, redis_url, elements=names, query=False, capacity_bytes=CAPACITY
    ) as mesh:
        await mesh.start_ingest()
        modest = mesh.bearer(await mesh.admin.issue("query-server"))

        async def ask(size: int, metadata: Any) -> str:
            ending = await ended(mesh.ingest.StartUpload(_start(size), metadata=metadata))
            return ending.reason or ending.name

        sizes = [chance.choice((0, 1, SMALL, BIG // 4, BIG, CAPACITY, 2**50)) for _ in range(60)]
        endings = await asyncio.gather(*(ask(size, mesh.bearer()) for size in sizes))
        assert {"OK", "UPLOAD_SHARE"} <= set(endings) <= {"OK", "UPLOAD_SHARE", "NO_SPACE"}
        held = [(await node.element()).reserved_bytes for node in mesh.elements.values()]
        assert sum(size > 0.1 * CAPACITY for size in held) <= 1
        assert all(size <= 0.95 * CAPACITY for size in held)
        assert await ask(2**20, modest) == "OK"
