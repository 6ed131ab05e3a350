"""What a collection takes away of a mesh, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from artstore.v1 import audit_pb2, audit_pb2_grpc
from artstore.v1.operations_pb2 import OPERATION_KIND_COLLECTION, ListOperationsRequest
from artstore.v1.operations_pb2_grpc import OperationServiceStub
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError
from storage_server.domain.file_id import milliseconds_of
from storage_server.domain.sidecar import FileState, Sidecar
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.collecting import (
    DATA,
    DAY,
    Collecting,
    a_file,
    collecting_mesh,
    counts,
    now,
    outcome,
)
from tests.integration.feed.small_mesh import fetch
from tests.support.cache_rig import path_of
from tests.support.waiting import until


@pytest.fixture
async def collecting(
    tmp_path: Path, database_url: str, redis_url: str
) -> AsyncIterator[Collecting]:
    async with collecting_mesh(tmp_path, database_url, redis_url) as found:
        yield found


async def test_a_run_takes_what_is_due_as_its_dry_run_said_and_nothing_else(
    collecting: Collecting,
) -> None:
    await collecting.settle_in()
    expired = a_file(expires_at=now() - 2 * DAY)
    lately = a_file(expires_at=now() - DAY / 2)
    held = a_file(expires_at=now() - 2 * DAY, legal_hold=True)
    kept = a_file()
    home = _moved_here()
    source = replace(
        home, state=FileState.MOVED, home_since=None, moved_to="se-02", updated_at=now() - 2 * DAY
    )
    fresh_home = _moved_here()
    fresh = replace(
        fresh_home, state=FileState.MOVED, home_since=None, moved_to="se-02", updated_at=now()
    )
    lone = a_file(state=FileState.MOVED, moved_to="se-02", updated_at=now() - 2 * DAY)
    tombstone = a_file(state=FileState.DELETED, revision=2, updated_at=now() - 40 * DAY)
    stub = replace(tombstone, state=FileState.GONE, revision=1, moved_to="se-01")
    young = a_file(state=FileState.DELETED, revision=2, updated_at=now() - 10 * DAY)
    await collecting.lay(
        ("se-01", expired),
        ("se-01", lately),
        ("se-01", held),
        ("se-02", kept),
        ("se-02", home),
        ("se-01", source),
        ("se-02", fresh_home),
        ("se-01", fresh),
        ("se-01", lone),
    )
    await collecting.lay(("se-01", tombstone), ("se-02", stub), ("se-01", young), with_bytes=False)
    orphan = collecting.orphan("se-02", 8 * DAY)
    new_orphan = collecting.orphan("se-02", DAY)
    foreign = orphan.with_name("notes.txt")
    foreign.write_bytes(b"somebody else's")

    before = collecting.stored("se-01"), collecting.stored("se-02")
    dry = await collecting.run(dry_run=True)
    assert (collecting.stored("se-01"), collecting.stored("se-02")) == before
    assert dry.dry_run and not dry.errors
    run = await collecting.run()
    assert outcome(run) == outcome(dry)
    assert counts(run) == {"EXPIRED": 1, "MOVED": 1, "TRASH": 1, "ORPHAN_BLOB": 1}
    assert run.freed_size_bytes == len(DATA)

    first, second = collecting.stored("se-01"), collecting.stored("se-02")
    whole, no_bytes = (True, True), (True, False)
    for sidecar in (expired, lately, held, fresh, lone):
        assert first[sidecar.file_id] == whole
    assert first[source.file_id] == no_bytes
    assert first[young.file_id] == no_bytes
    assert tombstone.file_id not in first and tombstone.file_id not in second
    for sidecar in (kept, home, fresh_home):
        assert second[sidecar.file_id] == whole
    assert not orphan.exists() and new_orphan.exists() and foreign.exists()
    quarantined = list((collecting.mesh.rigs["se-02"].root / ".quarantine").glob("*.blob"))
    assert [path.read_bytes() for path in quarantined] == [DATA]

    again = await collecting.run()
    assert counts(again) == {}
    assert [one.collection_id for one in (await collecting.list())[:3]] == [
        one.collection_id for one in (again, run, dry)
    ]
    await _purge_is_told_once(collecting, tombstone.file_id)


def _moved_here() -> Sidecar:
    """A home that became one after it was stored."""
    stored = a_file()
    return replace(stored, home_since=milliseconds_of(stored.file_id) + 1)


async def _purge_is_told_once(collecting: Collecting, file_id: str) -> None:
    mesh = collecting.mesh
    await mesh.caught_up()
    rows = await fetch(mesh.admin_url, "SELECT 1 FROM file_registry WHERE file_id = $1", file_id)
    assert not rows
    audit: Any = audit_pb2_grpc.AuditServiceStub(mesh.admin.channel)

    async def purges() -> list[str]:
        answer = await audit.ListAuditEvents(
            audit_pb2.ListAuditEventsRequest(
                filter=audit_pb2.AuditFilter(resource=file_id, action="file.purged")
            ),
            metadata=mesh.bearer(),
            timeout=10,
        )
        return sorted(event.storage_element_id for event in answer.events)

    async def told() -> bool:
        return await purges() == ["se-01", "se-02"]

    await until(told)


@pytest.mark.full
async def test_more_orphans_than_allowed_are_left_where_they_are(
    collecting: Collecting,
) -> None:
    orphans = [collecting.orphan("se-01", 8 * DAY) for _ in range(3)]
    await collecting.lay(*(("se-01", a_file()) for _ in range(3)))
    run = await collecting.run(max_delete_ratio=0.4)
    assert counts(run) == {} and run.error_count == 1 and "max_delete_ratio" in run.errors[0]
    assert all(path.exists() for path in orphans)
    # What goes of files in the same run makes no smaller share of what orphans are counted among.
    home = _moved_here()
    source = replace(
        home, state=FileState.MOVED, home_since=None, moved_to="se-02", updated_at=now() - 2 * DAY
    )
    await collecting.lay(("se-02", home), ("se-01", source))
    dry = await collecting.run(dry_run=True, max_delete_ratio=0.45)
    run = await collecting.run(max_delete_ratio=0.45)
    assert counts(run) == {"MOVED": 1, "ORPHAN_BLOB": 3} and outcome(run) == outcome(dry)


async def test_a_copy_too_many_of_a_held_file_goes_once_its_homes_bytes_were_read(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    # Nobody reads files there; admin does.
    modes = {"se-02": "ar"}
    async with collecting_mesh(tmp_path, database_url, redis_url, modes=modes) as collecting:
        whole, damaged = a_file(legal_hold=True), a_file(legal_hold=True)
        for home in (whole, damaged):
            await collecting.lay(("se-02", home), ("se-01", replace(home, state=FileState.COPY)))
        path = collecting.mesh.rigs["se-02"].root / path_of(damaged).removesuffix(SIDECAR_SUFFIX)
        path.write_bytes(DATA.upper())
        assert counts(await collecting.run(dry_run=True)) == {"SURPLUS": 2}
        run = await collecting.run()
        assert counts(run) == {"SURPLUS": 1} and run.freed_size_bytes == len(DATA)
        (error,) = run.errors
        assert damaged.file_id in error and "damaged at its home" in error
        stored = collecting.stored("se-01")
        assert stored == {whole.file_id: (True, False), damaged.file_id: (True, True)}


async def test_nothing_is_collected_by_a_registry_that_lacks_files(
    collecting: Collecting,
) -> None:
    await collecting.lay(("se-01", a_file(expires_at=now() - 2 * DAY)))
    mesh = collecting.mesh
    await mesh.stop("se-01")
    await fetch(mesh.admin_url, "TRUNCATE file_registry")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await collecting.run()
    error: ArtStoreError = from_rpc_error(refused.value)
    assert error.reason == "ELEMENT_UNAVAILABLE" and "se-01" in error.message


async def test_a_silent_element_keeps_what_its_word_is_needed_for(collecting: Collecting) -> None:
    tombstone = a_file(state=FileState.DELETED, revision=2, updated_at=now() - 40 * DAY)
    expired = a_file(expires_at=now() - 2 * DAY)
    await collecting.lay(("se-01", tombstone), with_bytes=False)
    await collecting.lay(("se-01", expired))
    await collecting.mesh.stop("se-02")
    run = await collecting.run()
    assert counts(run) == {"EXPIRED": 1}
    assert tombstone.file_id in collecting.stored("se-01")


async def test_a_run_is_seen_as_an_operation_of_admin_and_in_the_audit(
    collecting: Collecting,
) -> None:
    await collecting.run(operation_id="mine")
    mesh = collecting.mesh
    operations: Any = OperationServiceStub(mesh.admin.channel)
    answer = await operations.ListOperations(
        ListOperationsRequest(kinds=[OPERATION_KIND_COLLECTION]),
        metadata=mesh.bearer(),
        timeout=10,
    )
    (operation,) = answer.operations
    assert (operation.operation_id, operation.requested_by) == ("mine", "admin")
    audit: Any = audit_pb2_grpc.AuditServiceStub(mesh.admin.channel)
    answer = await audit.ListAuditEvents(
        audit_pb2.ListAuditEventsRequest(
            filter=audit_pb2.AuditFilter(action="RunCollection", resource="mine")
        ),
        metadata=mesh.bearer(),
        timeout=10,
    )
    assert [event.actor for event in answer.events] == ["admin"]


async def test_it_comes_by_itself(tmp_path: Path, database_url: str, redis_url: str) -> None:
    async with collecting_mesh(
        tmp_path, database_url, redis_url, collection_seconds=0.4
    ) as collecting:
        expired = a_file(expires_at=now() - 2 * DAY)
        await collecting.lay(("se-01", expired))

        async def collected() -> bool:
            return any(counts(run) == {"EXPIRED": 1} for run in await collecting.list())

        await until(collected, timedelta(seconds=30).total_seconds())


@pytest.mark.full
async def test_how_long_what_is_kept_is_set(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with collecting_mesh(
        tmp_path, database_url, redis_url, expired_keep_hours=1.0, collection_files_per_second=2.0
    ) as collecting:
        await collecting.settle_in()
        lately = [a_file(expires_at=now() - DAY / 12) for _ in range(3)]
        await collecting.lay(*(("se-01", sidecar) for sidecar in lately))
        began = asyncio.get_running_loop().time()
        assert counts(await collecting.run()) == {"EXPIRED": 3}
        assert asyncio.get_running_loop().time() - began > 1.0
