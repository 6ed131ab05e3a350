"""Files on their way here, and files whose last record goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from storage_server.catalog.pulls import PullRow
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.origin import Cause, Origin
from storage_server.domain.sidecar import FileState
from storage_server.store.port import Identity, StagedState
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.files import AnyCatalog, now
from tests.support.sidecars import a_sidecar

STAGE = StagedState("mp-1", 12, ((1, '"e1"', 8, 7), (2, "", 4, 0)))
BY_ADMIN = Origin(Cause.COLLECTION, "admin", "call", "trash")


def a_pull(file_id: str = "f1", **changes: object) -> PullRow:
    at = now()
    pull = PullRow(
        file_id=file_id,
        path="2026/01/02/03/f1.bin",
        sha256="0" * 64,
        size_bytes=20,
        stage=StagedState(""),
        began_at=at,
        touched_at=at,
    )
    return replace(pull, **changes)  # type: ignore[arg-type]


@on_both
async def test_a_pull_is_read_back_as_it_was_put_last(catalog: AnyCatalog) -> None:
    first = a_pull()
    await catalog.pulls.put(first)
    assert await catalog.pulls.get("f1") == first
    further = replace(first, stage=STAGE, touched_at=now())
    await catalog.pulls.put(further)
    older = a_pull("f2", began_at=first.began_at - timedelta(seconds=1))
    await catalog.pulls.put(older)
    assert await catalog.pulls.list_open() == [older, further]
    await catalog.pulls.delete("f1")
    await catalog.pulls.delete("f1")
    assert await catalog.pulls.get("f1") is None
    assert await catalog.pulls.list_open() == [older]


@on_both
async def test_a_purge_is_told_once_and_gives_back_what_the_file_took(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar(state=FileState.DELETED, revision=3)
    written = {"now": now(), "cache_ttl_hours": 24}
    path, by = "2026/01/02/03/a.attr.json", Origin(Cause.CALLER, "alice")
    await catalog.pending.begin_write(
        sidecar.file_id, path, ChangeKind.CREATED, by=by, revision=sidecar.revision
    )
    await catalog.writes.commit_row(sidecar, Identity(1), ChangeKind.CREATED, **written)  # type: ignore[arg-type]
    assert (await catalog.feed.head()).used_bytes == sidecar.size_bytes > 0
    await catalog.pending.begin_write(
        sidecar.file_id, path, ChangeKind.PURGED, by=BY_ADMIN, revision=sidecar.revision
    )
    for _ in range(2):
        await catalog.writes.purge(sidecar.file_id)
    assert await catalog.reads.get(sidecar.file_id) is None
    head = await catalog.feed.head()
    assert (head.sequence, head.used_bytes) == (2, 0)
    (told,) = await catalog.feed.read(1)
    assert (told.kind, told.file_id, told.revision) == (ChangeKind.PURGED, sidecar.file_id, 3)
    assert told.origin == BY_ADMIN


@on_both
async def test_bytes_count_while_they_are_there(catalog: AnyCatalog) -> None:
    sidecar = a_sidecar(state=FileState.DELETED)
    size, written = sidecar.size_bytes, {"now": now(), "cache_ttl_hours": 24}

    async def write(*, blob_present: bool) -> int:
        await catalog.writes.commit_row(
            sidecar,
            Identity(1),
            ChangeKind.UPDATED,
            blob_present=blob_present,
            **written,  # type: ignore[arg-type]
        )
        return (await catalog.feed.head()).used_bytes

    await catalog.pending.begin_write(
        sidecar.file_id, "p", ChangeKind.CREATED, by=BY_ADMIN, revision=sidecar.revision
    )
    assert await write(blob_present=True) == size
    assert await catalog.writes.blob_removed(sidecar.file_id)
    # The bytes come back: what was moved away is pulled.
    assert await write(blob_present=False) == 0
    assert await write(blob_present=True) == size
