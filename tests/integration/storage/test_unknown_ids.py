"""Ids that nobody knows are cheap (correctness 11), whatever the caller makes up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest

from artstore.v1 import storage_pb2
from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import home_of
from storage_server.store.name_index import NameIndex
from storage_server.store.s3 import S3Store
from storage_server.store.s3_client import S3Client
from tests.support.caller import ended
from tests.support.storage_rig import Node, Rig
from tests.support.waiting import until


def get(node: Node, file_id: str) -> Any:
    return node.call("GetFile", storage_pb2.StorageServiceGetFileRequest(file_id=file_id))


async def test_a_third_listing_at_once_is_refused_with_the_time_to_come_back(
    s3_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, gate = 0, asyncio.Event()
    real = S3Store._list_names

    async def slow(store: S3Store, folder: str) -> Any:
        nonlocal listing
        listing += 1
        await gate.wait()
        return await real(store, folder)

    monkeypatch.setattr(S3Store, "_list_names", slow)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_file_id(day + timedelta(hours=hour)) for hour in range(3)]
    async with s3_rig.running() as node:
        first = [asyncio.ensure_future(ended(get(node, file_id))) for file_id in ids[:2]]
        await until(lambda: listing == 2)
        third = await ended(get(node, ids[2]))
        assert (third.code, third.has_retry_info) == (grpc.StatusCode.UNAVAILABLE, True)
        assert listing == 2
        gate.set()
        assert {(await each).code for each in first} == {grpc.StatusCode.NOT_FOUND}
        assert (await ended(get(node, ids[2]))).code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "file_id",
    [
        "",
        "no id at all",
        "00000000-0000-0000-0000-000000000000",
        "9b2f8a52-7a4c-4d6e-8f00-112233445566",
        "019B76DA_A800_7BA2_BF08_BA7B2A556EE5",
        "ffffffff-ffff-7abc-8def-0123456789ab",  # of 10889, no folder is called so
        "../" * 12,
    ],
)
async def test_an_implausible_id_touches_no_store(
    shared_s3: Node, monkeypatch: pytest.MonkeyPatch, file_id: str
) -> None:
    touched: list[str] = []
    real = S3Client._call

    async def noted(client: S3Client, pool: Any, operation: str, key: str, *more: Any) -> Any:
        # What the element does by itself is to look at this file, for dead uploads and for what was
        # set aside, and to prove that it may write.
        if (
            not key.endswith(("element.json", ".write-probe"))
            and operation != "list_multipart_uploads"
            and ".quarantine/" not in str(more)
        ):
            touched.append(f"{operation} {key}")
        return await real(client, pool, operation, key, *more)

    monkeypatch.setattr(S3Client, "_call", noted)
    for method, request in (
        ("GetFile", storage_pb2.StorageServiceGetFileRequest(file_id=file_id)),
        ("UpdateFile", storage_pb2.UpdateFileRequest(file_id=file_id)),
        ("DeleteFile", storage_pb2.DeleteFileRequest(file_id=file_id)),
    ):
        ending = await ended(shared_s3.call(method, request))
        assert ending.name in {"NOT_FOUND", "INVALID_ARGUMENT"}, (method, ending)
    assert touched == []


@pytest.mark.parametrize("backend", ["local", "s3"])
async def test_a_batch_of_missing_ids_costs_one_listing_for_each_folder(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    rig: Rig = request.getfixturevalue(f"{backend}_rig")
    listed: list[str] = []
    real = NameIndex._list

    async def counted(index: NameIndex, folder: str, began: float) -> Any:
        listed.append(folder)
        return await real(index, folder, began)

    monkeypatch.setattr(NameIndex, "_list", counted)
    now = datetime.now(UTC)
    hours = [now, now - timedelta(hours=5), now - timedelta(days=400)]
    gone = [new_file_id(hour) for hour in hours for _ in range(330)]
    async with rig.running() as node:
        there = (await node.upload()).file.file_id
        listed.clear()
        answer = await node.call(
            "BatchGetFiles", storage_pb2.BatchGetFilesRequest(file_ids=[*gone, there])
        )
        assert [file.file_id for file in answer.files] == [there]
        assert list(answer.missing_file_ids) == gone
        assert sorted(listed) == sorted({home_of(file_id) for file_id in gone})


async def test_an_unmounted_store_lacks_no_file(local_rig: Rig) -> None:
    async with local_rig.running() as node:
        file_id = (await node.upload()).file.file_id
        rows = "DELETE FROM storage_elem_01_files"
        connection = await asyncpg.connect(local_rig.values["database_url"])
        await connection.execute(rows)
        await connection.close()
        aside = local_rig.root.with_name("aside")
        local_rig.root.rename(aside)
        local_rig.root.mkdir()
        ending = await ended(
            node.call("BatchGetFiles", storage_pb2.BatchGetFilesRequest(file_ids=[file_id]))
        )
        assert ending.code is grpc.StatusCode.UNAVAILABLE
        local_rig.root.rmdir()
        aside.rename(local_rig.root)

        async def found() -> bool:
            request = storage_pb2.BatchGetFilesRequest(file_ids=[file_id])
            return bool((await ended(node.call("BatchGetFiles", request))).answer)

        await until(found)
