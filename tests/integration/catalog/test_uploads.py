"""What a resumable upload leaves on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from storage_server.catalog.uploads import UploadRow
from storage_server.store.port import StagedState
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.files import AnyCatalog, now

STAGE = StagedState(key="mp-1", committed_size_bytes=12, parts=((1, '"e1"', 8, 7), (2, "", 4, 0)))


def an_upload(**fields: Any) -> UploadRow:
    at = now()
    values: dict[str, Any] = {
        "upload_id": "se-01.u1",
        "file_id": "f1",
        "path": "2026/01/02/03/f1.bin",
        "created_by": "alice",
        "request_id": "r-1",
        "header": b"\x00header",
        "token_hash": b"\xff" * 32,
        "reserved_bytes": 100,
        "stage": StagedState(key="", committed_size_bytes=0, parts=()),
        "created_at": at,
        "touched_at": at,
    }
    return UploadRow(**{**values, **fields})


@on_both
async def test_an_upload_is_read_back_whole(catalog: AnyCatalog) -> None:
    upload = an_upload(stage=STAGE)
    await catalog.uploads.create(upload)
    assert await catalog.uploads.get(upload.upload_id) == upload
    assert await catalog.uploads.get("se-01.other") is None


@on_both
async def test_progress_is_recorded_while_it_is_open(catalog: AnyCatalog) -> None:
    upload = an_upload()
    await catalog.uploads.create(upload)
    later = now()
    assert await catalog.uploads.record_progress(
        upload.upload_id, STAGE, reserved_bytes=200, now=later
    )
    expected = replace(upload, stage=STAGE, reserved_bytes=200, touched_at=later)
    assert await catalog.uploads.get(upload.upload_id) == expected
    await catalog.uploads.finish(upload.upload_id, now=later)
    assert not await catalog.uploads.record_progress(
        upload.upload_id, StagedState("", 0, ()), reserved_bytes=0, now=later
    )


async def reserved_total(catalog: AnyCatalog) -> int:
    return sum(one.reserved_bytes for one in await catalog.uploads.list_open())


@on_both
async def test_a_finished_upload_stays_and_holds_no_room(catalog: AnyCatalog) -> None:
    await catalog.uploads.create(an_upload())
    await catalog.uploads.create(an_upload(upload_id="se-01.u2", reserved_bytes=50))
    assert await reserved_total(catalog) == 150
    await catalog.uploads.finish("se-01.u1", now=now())
    await catalog.uploads.finish("se-01.u1", now=now())
    assert await reserved_total(catalog) == 50
    found = await catalog.uploads.get("se-01.u1")
    assert found is not None
    assert found.committed
    assert [one.upload_id for one in await catalog.uploads.list_open()] == ["se-01.u2"]


@on_both
async def test_a_request_finds_its_latest_upload(catalog: AnyCatalog) -> None:
    old = an_upload(created_at=now() - timedelta(days=9), touched_at=now() - timedelta(days=8))
    await catalog.uploads.create(old)
    week_ago = now() - timedelta(days=7)
    # It is open, and can still be committed.
    assert await catalog.uploads.find_by_request("alice", "r-1", since=week_ago) == old
    await catalog.uploads.finish(old.upload_id, now=now() - timedelta(days=6))
    found = await catalog.uploads.find_by_request("alice", "r-1", since=week_ago)
    assert found is not None
    assert found.committed
    await catalog.uploads.finish(old.upload_id, now=now() - timedelta(days=8))
    assert await catalog.uploads.find_by_request("alice", "r-1", since=week_ago) is None
    new = an_upload(upload_id="se-01.u2")
    await catalog.uploads.create(new)
    assert await catalog.uploads.find_by_request("alice", "r-1", since=week_ago) == new
    assert await catalog.uploads.find_by_request("bob", "r-1", since=week_ago) is None


@on_both
async def test_a_new_token_replaces_the_old(catalog: AnyCatalog) -> None:
    await catalog.uploads.create(an_upload())
    assert await catalog.uploads.replace_token("se-01.u1", b"new", now=now())
    found = await catalog.uploads.get("se-01.u1")
    assert found is not None
    assert found.token_hash == b"new"
    assert not await catalog.uploads.replace_token("se-01.other", b"new", now=now())


@on_both
async def test_idle_uploads_are_found_and_forgotten(catalog: AnyCatalog) -> None:
    await catalog.uploads.create(an_upload(touched_at=now() - timedelta(days=8)))
    await catalog.uploads.create(an_upload(upload_id="se-01.u2"))
    week_ago = now() - timedelta(days=7)
    (idle,) = await catalog.uploads.list_idle(week_ago)
    await catalog.uploads.delete(idle.upload_id)
    await catalog.uploads.delete(idle.upload_id)
    assert await catalog.uploads.list_idle(week_ago) == []
    assert await catalog.uploads.get(idle.upload_id) is None
