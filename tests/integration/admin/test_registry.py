"""The file registry: each file once, visible while any replica is, by the caller's namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from admin_server.registry.registry import CURSORS, TABLE
from artstore.v1 import registry_pb2, registry_pb2_grpc
from artstore.v1.types_pb2 import FileState
from mesh.follower import ReplicaTable
from mesh.postgres.database import Database
from tests.integration.admin.registry_rows import a_file, put
from tests.support.running_admin import USER, RunningAdmin
from tests.support.waiting import until


@pytest.fixture
async def table(admin: RunningAdmin, database_url: str) -> AsyncIterator[ReplicaTable]:
    """The registry's table, written as a follower does; no element is registered."""
    database = Database(f"{database_url}_admin")
    table = ReplicaTable(database, table=TABLE, prefix=CURSORS, leader="test")
    await until(lambda: database.fetchval("SELECT to_regclass($1) IS NOT NULL", TABLE))
    yield table
    await database.close()


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


MOVED, LATER = {"state": "MOVED", "revision": 2, "moved_to": "se-02"}, {"home_since": 2**50}


@pytest.mark.parametrize(
    ("source", "target", "home"),
    [
        # A switch as the two feeds may tell of it, in any order.
        ({}, {"state": "INCOMING"}, "se-01"),
        (MOVED, {"state": "INCOMING"}, "se-01"),
        ({}, {"revision": 2, **LATER}, "se-02"),
        (MOVED, {"revision": 2, **LATER}, "se-02"),
        # The target was changed or deleted since, or an older store came back.
        ({"state": "GONE", "moved_to": "se-02"}, {"revision": 5, **LATER}, "se-02"),
        ({"revision": 9}, {"revision": 2, **LATER}, "se-02"),
        ({"revision": 9}, {"state": "DELETED", "revision": 3, **LATER}, ""),
        (MOVED, {"state": "DELETED", "revision": 3, **LATER}, ""),
        ({"state": "DELETED", "revision": 3}, {"revision": 2, **LATER}, "se-02"),
        # A copy is read, and never listed.
        ({}, {"state": "COPY"}, "se-01"),
        ({"state": "DELETED", "revision": 2}, {"state": "COPY"}, ""),
        ({"state": "ERASED"}, {"revision": 2, **LATER}, ""),
    ],
)
async def test_a_file_on_two_elements_is_one_line_at_its_home(
    admin: RunningAdmin,
    table: ReplicaTable,
    source: dict[str, Any],
    target: dict[str, Any],
    home: str,
) -> None:
    told = {"se-01": a_file(1, **source), "se-02": a_file(1, **target)}
    for element_id, file in told.items():
        await put(table, element_id, file)
    assert await listed(admin) == ([("file-1", 1)] if home else [])
    for element_id in told:
        at_home = [("file-1", 1)] if element_id == home else []
        assert await listed(admin, storage_element_id=element_id) == at_home
    if not home:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await replicas(admin, "file-1")
        assert ended.value.code() is grpc.StatusCode.NOT_FOUND
        return
    found = await replicas(admin, "file-1")
    assert found.file.storage_element_id == found.replicas[0].storage_element_id == home
    assert found.file.state == told[home].state
    assert len(found.replicas) == 2
    assert found.replicas[0].HasField("home_since") is told[home].HasField("home_since")


async def test_a_file_that_left_for_where_is_not_known_yet_is_not_said_to_be_gone(
    admin: RunningAdmin, table: ReplicaTable
) -> None:
    await put(table, "se-01", a_file(1, state="GONE", moved_to="se-02"))
    with pytest.raises(grpc.aio.AioRpcError) as away:
        await replicas(admin, "file-1")
    assert away.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "se-02" in str(away.value.details())


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
