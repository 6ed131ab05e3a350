"""Storage elements: they report, are listed and watched, and turn unhealthy in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio

from artstore.v1 import (
    elements_pb2,
    types_pb2,
)
from mesh.calls.status import from_rpc_error
from mesh.postgres.urls import with_database
from tests.support.running_admin import (
    EVERYBODY,
    OTHER_ELEMENTS,
    ManualClock,
    RunningAdmin,
    code_of,
    report,
    running_admin,
)

EVERY_ELEMENT = [*EVERYBODY, *OTHER_ELEMENTS]
OTHER_STORE = "9d1c8a52-5f0e-4d0b-8a37-6a2f0c3b7e02"


@pytest_asyncio.fixture(loop_scope="session")
async def admin(
    database_url: str, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[RunningAdmin]:
    """An admin of the test's own that has an account for each of four elements."""
    async with running_admin(database_url, tmp_path, accounts=EVERY_ELEMENT, now=clock) as running:
        yield running


async def register(admin: RunningAdmin, told: elements_pb2.StorageElementReport) -> Any:
    request = elements_pb2.ReportStorageElementRequest(report=told)
    named = told.storage_element_id
    account = f"storage-{named}" if named.startswith("se-0") else "storage-se-01"
    return await admin.elements.ReportStorageElement(request, **await admin.as_(account))


async def listed(admin: RunningAdmin, **fields: Any) -> Any:
    request = elements_pb2.ListStorageElementsRequest(**fields)
    return await admin.elements.ListStorageElements(request, **await admin.as_("alice"))


async def get(admin: RunningAdmin, storage_element_id: str) -> elements_pb2.StorageElement:
    request = elements_pb2.GetStorageElementRequest(storage_element_id=storage_element_id)
    answer = await admin.elements.GetStorageElement(request, **await admin.as_("admin"))
    element: elements_pb2.StorageElement = answer.element
    return element


async def decide(admin: RunningAdmin, storage_element_id: str, **fields: Any) -> Any:
    request = elements_pb2.UpdateStorageElementRequest(
        storage_element_id=storage_element_id, **fields
    )
    return await admin.elements.UpdateStorageElement(request, **await admin.as_("admin"))


@asynccontextmanager
async def watching(admin: RunningAdmin) -> AsyncIterator[Any]:
    """An open watch; `await next(...)` with `read`."""
    caller = await admin.as_("alice")
    call = admin.elements.WatchStorageElements(
        elements_pb2.WatchStorageElementsRequest(), metadata=caller["metadata"], timeout=60
    )
    try:
        yield call
    finally:
        call.cancel()


async def read(call: Any, seconds: float = 5.0) -> elements_pb2.StorageElement:
    answer = await asyncio.wait_for(call.read(), seconds)
    assert answer is not grpc.aio.EOF
    if answer.HasField("snapshot_end"):
        return await read(call, seconds)
    element: elements_pb2.StorageElement = answer.changed
    return element


async def test_a_reported_element_is_described_as_it_said(admin: RunningAdmin) -> None:
    said = report(
        used_bytes=5,
        reserved_bytes=6,
        file_count=7,
        head_position=8,
        writable=False,
        unwritable_reason="its file system is read-only",
        followers_behind=["query"],
    )
    answer = await register(admin, said)
    assert answer.report_interval_seconds == 5.0
    known = await get(admin, "se-01")
    assert known == answer.element
    assert known.healthy
    assert known.HasField("registered_at")
    assert known.HasField("reported_at")
    for field in said.DESCRIPTOR.fields:
        # Whom it knows is between the two.
        if field.name not in ("reported_at", "peer_storage_element_ids"):
            assert getattr(known, field.name) == getattr(said, field.name), field.name


async def test_an_element_may_not_know_how_full_it_is(admin: RunningAdmin) -> None:
    said = report(fill_level=types_pb2.FILL_LEVEL_UNSPECIFIED, epoch="", writable=False)
    answer = await register(admin, said)
    assert answer.element.fill_level == types_pb2.FILL_LEVEL_UNSPECIFIED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"storage_element_id": ""}, "report.storage_element_id"),
        ({"storage_element_id": "SE 1"}, "report.storage_element_id"),
        ({"storage_element_id": "se\0"}, "report.storage_element_id"),
        ({"store_id": ""}, "report.store_id"),
        ({"endpoint": "nowhere"}, "report.endpoint"),
        ({"endpoint": "unix:1234"}, "report.endpoint"),
        ({"endpoint": "DNS:443"}, "report.endpoint"),
        ({"endpoint": "xds:1"}, "report.endpoint"),
        ({"mode": types_pb2.ELEMENT_MODE_UNSPECIFIED}, "report.mode"),
        ({"mode": 77}, "mode"),
        ({"fill_level": 77}, "report.fill_level"),
        ({"backend": 99}, "report.backend"),
        ({"priority": -1}, "report.priority"),
        ({"used_bytes": -1}, "report.used_bytes"),
        ({"epoch": "a\0"}, "report.epoch"),
        ({"unwritable_reason": "two\nlines"}, "report.unwritable_reason"),
        ({"unwritable_reason": "x" * 201}, "report.unwritable_reason"),
        ({"followers_behind": ["two\nlines"]}, "report.followers_behind"),
    ],
)
async def test_a_report_that_cannot_be_true_is_refused_by_field(
    shared_admin: RunningAdmin, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await register(shared_admin, report(**changes))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(refused.value).field == field  # type: ignore[attr-defined]


async def test_a_report_without_an_element_is_refused(shared_admin: RunningAdmin) -> None:
    request = elements_pb2.ReportStorageElementRequest()
    call = shared_admin.elements.ReportStorageElement(
        request, **await shared_admin.as_("storage-se-01")
    )
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_known_id_with_another_store_is_refused_and_changes_nothing(
    admin: RunningAdmin,
) -> None:
    await register(admin, report(used_bytes=1))
    call = register(admin, report(store_id=OTHER_STORE, used_bytes=2))
    assert await code_of(call) is grpc.StatusCode.FAILED_PRECONDITION
    known = await get(admin, "se-01")
    assert (known.store_id, known.used_bytes) == (report().store_id, 1)


async def test_once_its_row_is_deleted_an_id_may_have_another_store(
    database_url: str, admin: RunningAdmin
) -> None:
    await register(admin, report())
    name = database_url.rpartition("/")[2] + "_admin"
    connection = await asyncpg.connect(with_database(database_url, name))
    try:
        await connection.execute("DELETE FROM storage_elements")
    finally:
        await connection.close()
    answer = await register(admin, report(store_id=OTHER_STORE))
    assert answer.element.store_id == OTHER_STORE


async def test_lists_go_by_priority_and_by_mode(admin: RunningAdmin) -> None:
    assert (await listed(admin)).total_size == 0
    await register(admin, report("se-03", priority=300, mode=types_pb2.ELEMENT_MODE_RW))
    await register(admin, report("se-02", priority=200))
    await register(admin, report("se-01", priority=200))

    everything = await listed(admin)
    assert [e.storage_element_id for e in everything.elements] == ["se-01", "se-02", "se-03"]
    only_rw = await listed(admin, mode=types_pb2.ELEMENT_MODE_RW)
    assert [e.storage_element_id for e in only_rw.elements] == ["se-03"]
    assert only_rw.total_size == 1

    names: list[str] = []
    token = ""
    while True:
        page = await listed(admin, page_size=1, page_token=token)
        assert page.total_size == 3
        names += [e.storage_element_id for e in page.elements]
        token = page.next_page_token
        if not token:
            break
    assert names == ["se-01", "se-02", "se-03"]
    assert await code_of(listed(admin, page_token="abc")) is grpc.StatusCode.INVALID_ARGUMENT


async def test_admins_priority_goes_before_the_reported_one(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path, accounts=EVERY_ELEMENT) as admin:
        await register(admin, report("se-01", priority=100))
        await register(admin, report("se-02", priority=200))
        answer = await decide(admin, "se-02", priority=0)
        assert answer.element.priority == 0
        assert (await register(admin, report("se-02", priority=200))).element.priority == 0
        assert (await decide(admin, "se-02")).element.priority == 0
    async with running_admin(database_url, tmp_path) as admin:
        found = (await listed(admin)).elements
        assert [(e.storage_element_id, e.priority) for e in found] == [("se-02", 0), ("se-01", 100)]


async def test_unknown_elements_are_not_found(shared_admin: RunningAdmin) -> None:
    for name in ("se-99", "", "a\0b", "x" * 100):
        assert await code_of(get(shared_admin, name)) is grpc.StatusCode.NOT_FOUND
        call = decide(shared_admin, name, priority=1)
        assert await code_of(call) is grpc.StatusCode.NOT_FOUND
    code = await code_of(decide(shared_admin, "se-99", priority=-1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_silent_element_turns_unhealthy_and_back(
    admin: RunningAdmin, clock: ManualClock
) -> None:
    await register(admin, report())
    async with watching(admin) as watch:
        assert (await read(watch)).healthy
        clock.advance(14)
        assert (await get(admin, "se-01")).healthy
        clock.advance(2)
        assert not (await get(admin, "se-01")).healthy
        assert not (await read(watch)).healthy
        await register(admin, report())
        assert (await read(watch)).healthy


async def test_a_watch_tells_all_now_and_then_what_changes(admin: RunningAdmin) -> None:
    await register(admin, report("se-01"))
    await register(admin, report("se-02"))
    async with watching(admin) as watch, watching(admin) as other:
        for call in (watch, other):
            names = {(await read(call)).storage_element_id for _ in range(2)}
            assert names == {"se-01", "se-02"}

        # The same report again is no change; what follows it is the next that is told.
        await register(admin, report("se-01"))
        await register(admin, report("se-02", used_bytes=9))
        for call in (watch, other):
            changed = await read(call)
            assert (changed.storage_element_id, changed.used_bytes) == ("se-02", 9)

        await decide(admin, "se-01", priority=7)
        assert (await read(watch)).priority == 7
        await register(admin, report("se-04"))
        assert (await read(watch)).storage_element_id == "se-04"


async def test_a_watcher_hears_what_another_admin_was_told(
    database_url: str, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        running_admin(database_url, folders[0]) as one,
        running_admin(database_url, folders[1]) as two,
        watching(two) as watch,
    ):
        await register(one, report(used_bytes=1))
        assert (await read(watch)).used_bytes == 1
        await register(one, report(used_bytes=2))
        assert (await read(watch)).used_bytes == 2
        await decide(one, "se-01", priority=3)
        assert (await read(watch)).priority == 3


async def test_reports_outlive_a_restart_with_their_age(database_url: str, tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_admin(database_url, tmp_path, now=clock) as admin:
        await register(admin, report(used_bytes=1))
        registered_at = (await register(admin, report(used_bytes=2))).element.registered_at
    clock.advance(10)
    async with running_admin(database_url, tmp_path, now=clock) as admin:
        known = await get(admin, "se-01")
        assert (known.used_bytes, known.healthy) == (2, True)
        assert known.registered_at == registered_at
        clock.advance(6)
        assert not (await get(admin, "se-01")).healthy


async def test_a_standby_does_not_displace_a_healthy_writer(
    admin: RunningAdmin, clock: ManualClock
) -> None:
    await register(admin, report(endpoint="127.0.0.1:8010"))
    standby = report(endpoint="127.0.0.1:9010", is_writer=False, writable=False)
    await register(admin, standby)
    known = await get(admin, "se-01")
    assert (known.endpoint, known.is_writer) == ("127.0.0.1:8010", True)

    clock.advance(16)
    await register(admin, standby)
    known = await get(admin, "se-01")
    assert (known.endpoint, known.is_writer, known.healthy) == ("127.0.0.1:9010", False, True)


async def test_an_open_watch_does_not_hold_up_the_stop(database_url: str, tmp_path: Path) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        await register(admin, report())
        async with watching(admin) as watch:
            await read(watch)
            async with asyncio.timeout(3):
                await admin.server.stop()


@pytest.mark.parametrize(
    ("client_id", "method", "allowed"),
    [
        ("alice", "ReportStorageElement", False),
        ("auditor", "ReportStorageElement", False),
        ("admin", "ReportStorageElement", False),
        ("alice", "UpdateStorageElement", False),
        ("storage-se-01", "UpdateStorageElement", False),
        ("alice", "GetStorageElement", True),
        ("auditor", "ListStorageElements", True),
    ],
)
async def test_who_may_touch_elements(
    shared_admin: RunningAdmin, client_id: str, method: str, allowed: bool
) -> None:
    request = getattr(elements_pb2, f"{method}Request")()
    call = getattr(shared_admin.elements, method)(request, **await shared_admin.as_(client_id))
    try:
        await call
    except grpc.aio.AioRpcError as error:
        assert (error.code() is not grpc.StatusCode.PERMISSION_DENIED) == allowed
    else:
        assert allowed


async def test_a_watch_says_when_all_was_told_and_what_is_gone(
    database_url: str, tmp_path: Path
) -> None:
    async with running_admin(database_url, tmp_path) as admin:
        async with watching(admin) as empty:
            first = await asyncio.wait_for(empty.read(), 5)
            assert (first.WhichOneof("payload"), first.snapshot_end.element_count) == (
                "snapshot_end",
                0,
            )
        await register(admin, report("se-01"))
        async with watching(admin) as watch:
            told = [await asyncio.wait_for(watch.read(), 5) for _ in range(2)]
            assert [one.WhichOneof("payload") for one in told] == ["changed", "snapshot_end"]
            assert told[1].snapshot_end.element_count == 1
            # So that the row is there, whatever was still to be written.
            await admin_sync(admin, watch)
            name = database_url.rpartition("/")[2] + "_admin"
            connection = await asyncpg.connect(with_database(database_url, name))
            try:
                await connection.execute("DELETE FROM storage_elements")
            finally:
                await connection.close()
            gone = await asyncio.wait_for(watch.read(), 10)
            assert gone.removed.storage_element_id == "se-01"


async def admin_sync(admin: RunningAdmin, watch: Any) -> None:
    """Wait until a decision is in the table and told."""
    await decide(admin, "se-01", priority=7)
    assert (await read(watch)).priority == 7
