"""The file registry: each file once, visible while any replica is, by the caller's namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from admin_server.registry.registry import CURSORS, TABLE
from artstore.v1 import registry_pb2, registry_pb2_grpc
from artstore.v1.types_pb2 import File, FileState
from mesh.follower import Cursor, ReplicaTable
from mesh.postgres.database import Database
from tests.support.running_admin import USER, RunningAdmin
from tests.support.waiting import until

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def table(admin: RunningAdmin, database_url: str) -> AsyncIterator[ReplicaTable]:
    """The registry's table, written as a follower does; no element is registered."""
    database = Database(f"{database_url}_admin")
    table = ReplicaTable(database, table=TABLE, prefix=CURSORS, leader="test")
    await until(lambda: database.fetchval("SELECT to_regclass($1) IS NOT NULL", TABLE))
    yield table
    await database.close()


async def put(table: ReplicaTable, element_id: str, *files: File) -> None:
    lead = await table.lead(element_id, seconds=60)
    assert lead is not None
    old = lead.cursor
    new = Cursor("e", old.sequence + len(files), "x")
    changes = [(old.sequence + n, file) for n, file in enumerate(files, 1)]
    await table.apply(element_id, old, Cursor(old.epoch, new.sequence, "x"), files=changes)


def a_file(number: int, *, state: str = "ACTIVE", age: int = 0, **fields: Any) -> File:
    file = File(
        file_id=f"file-{number}",
        namespace="default",
        revision=1,
        state=FileState.Value(f"FILE_STATE_{state}"),
        **fields,
    )
    file.created_at.FromDatetime(START + timedelta(seconds=number))
    file.updated_at.FromDatetime(START + timedelta(days=1, seconds=age))
    return file


def registry(admin: RunningAdmin) -> Any:
    return registry_pb2_grpc.FileRegistryServiceStub(admin.channel)


async def listed(admin: RunningAdmin, **fields: Any) -> list[tuple[str, int]]:
    """Ids of all pages, with the total that each page tells."""
    found, token = [], ""
    while True:
        request = registry_pb2.FileRegistryServiceListFilesRequest(
            **{"page_size": 2, "page_token": token} | fields
        )
        page = await registry(admin).ListFiles(request, **await admin.as_("admin"))
        found += [(file.file_id, page.total_size) for file in page.files]
        token = page.next_page_token
        if not token:
            return found


async def replicas(admin: RunningAdmin, file_id: str, who: str = "admin") -> Any:
    request = registry_pb2.FileRegistryServiceGetFileRequest(file_id=file_id)
    return await registry(admin).GetFile(request, **await admin.as_(who))


async def test_a_file_with_two_replicas_is_listed_and_counted_once(
    admin: RunningAdmin, table: ReplicaTable
) -> None:
    await put(table, "se-01", *(a_file(n) for n in range(3)))
    await put(table, "se-02", *(a_file(n, age=1) for n in range(1, 5)))
    assert await listed(admin) == [(f"file-{n}", 5) for n in range(5)]
    assert await listed(admin, storage_element_id="se-01") == [(f"file-{n}", 3) for n in range(3)]
    assert await listed(admin, namespace="elsewhere") == []


async def test_a_tombstone_or_a_source_that_moved_hides_no_other_replica(
    admin: RunningAdmin, table: ReplicaTable
) -> None:
    await put(table, "se-01", a_file(1, state="DELETED", age=9), a_file(2, state="MOVED", age=9))
    await put(table, "se-02", a_file(1), a_file(2))
    for number, state in ((1, "DELETED"), (2, "MOVED")):
        found = await replicas(admin, f"file-{number}")
        assert found.file.storage_element_id == "se-02"
        assert [(r.storage_element_id, r.state) for r in found.replicas] == [
            ("se-02", FileState.FILE_STATE_ACTIVE),
            ("se-01", FileState.Value(f"FILE_STATE_{state}")),
        ]
    assert await listed(admin) == [("file-1", 2), ("file-2", 2)]
    # Until the target is known the source serves the file.
    await put(table, "se-01", a_file(3, state="MOVED"))
    assert (await replicas(admin, "file-3")).file.storage_element_id == "se-01"
    assert ("file-3", 3) in await listed(admin)


@pytest.mark.parametrize("gone", ["file-1", "file-9", "\0"])
async def test_what_is_deleted_or_of_another_namespace_is_not_found(
    admin: RunningAdmin, table: ReplicaTable, gone: str
) -> None:
    hidden = a_file(2)
    hidden.namespace = "hr"
    await put(table, "se-01", a_file(1, state="DELETED"), hidden)
    for file_id, who in ((gone, "admin"), ("file-2", USER["client_id"])):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await replicas(admin, file_id, str(who))
        assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    answer = await registry(admin).ListFiles(
        registry_pb2.FileRegistryServiceListFilesRequest(),
        **await admin.as_(str(USER["client_id"])),
    )
    assert (list(answer.files), answer.total_size) == ([], 0)


async def test_a_file_is_found_however_its_id_is_written(
    admin: RunningAdmin, table: ReplicaTable
) -> None:
    file = a_file(1)
    file.file_id = "019b76da-a800-7ba2-bf08-ba7b2a556ee5"
    await put(table, "se-01", file)
    answer = await replicas(admin, f"{{{file.file_id.upper()}}} ")
    assert answer.file.file_id == file.file_id
