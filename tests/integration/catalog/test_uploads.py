"""What a resumable upload leaves on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from storage_server.catalog.uploads import UploadRow
from storage_server.store.port import StagedState
from storage_server.uploads.header import Header
from tests.integration.catalog.back_door import on_both
from tests.integration.catalog.files import AnyCatalog, now

STAGE = StagedState(key="mp-1", committed_size_bytes=12, parts=((1, '"e1"', 8, 7), (2, "", 4, 0)))


def header_to(namespace: str) -> bytes:
    return Header(original_filename="a", namespace=namespace).to_bytes()


def an_upload(**fields: Any) -> UploadRow:
    at = now()
    values: dict[str, Any] = {
        "upload_id": "se-01.u1",
        "file_id": "f1",
        "path": "2026/01/02/03/f1.bin",
        "created_by": "alice",
        "request_id": "r-1",
        "header": header_to("default"),
        "token_hash": b"\xff" * 32,
        "reserved_bytes": 100,
        "stage": StagedState(key="", committed_size_bytes=0, parts=()),
        "created_at": at,
        "touched_at": at,
        "received_bytes": 7,
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
        upload.upload_id, STAGE, reserved_bytes=200, received_bytes=15, now=later
    )
    expected = replace(upload, stage=STAGE, reserved_bytes=200, received_bytes=15, touched_at=later)
    assert await catalog.uploads.get(upload.upload_id) == expected
    await catalog.uploads.finish(upload.upload_id, now=later)
    assert not await catalog.uploads.record_progress(
        upload.upload_id, StagedState("", 0, ()), reserved_bytes=0, received_bytes=0, now=later
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


@on_both
async def test_room_lapses_of_what_began_before_and_has_no_byte(catalog: AnyCatalog) -> None:
    old, cut = now() - timedelta(minutes=16), now() - timedelta(minutes=15)
    uploads = {
        "silent": an_upload(upload_id="silent", created_at=old),
        "young": an_upload(upload_id="young"),
        "sent": an_upload(upload_id="sent", created_at=old, stage=STAGE),
        "sending": an_upload(upload_id="sending", created_at=old),
        "done": an_upload(upload_id="done", created_at=old, committed=True),
        "empty": an_upload(upload_id="empty", created_at=old, reserved_bytes=0),
    }
    for upload in uploads.values():
        await catalog.uploads.create(upload)
    assert await catalog.uploads.lapse(cut, sending=["sending"]) == ["silent"]
    assert await catalog.uploads.lapse(cut, sending=["sending"]) == []
    for name, upload in uploads.items():
        expected = replace(upload, reserved_bytes=0) if name == "silent" else upload
        assert await catalog.uploads.get(name) == expected


@on_both
async def test_open_uploads_are_listed_in_pages_newest_first(catalog: AnyCatalog) -> None:
    at = now()
    for number in range(3):
        for account in ("alice", "bob"):
            name, began = f"{account}-{number}", at + timedelta(seconds=number // 2)
            await catalog.uploads.create(
                an_upload(
                    upload_id=name,
                    created_by=account,
                    created_at=began,
                    header=header_to(f"{account}'s"),
                )
            )
    await catalog.uploads.create(an_upload(upload_id="done", committed=True))

    async def listed(**asked: Any) -> tuple[list[str], int]:
        rows, total = await catalog.uploads.list_page(**{"namespaces": None, **asked})
        return [row.upload_id for row in rows], total

    names = ["bob-2", "alice-2", "bob-1", "bob-0", "alice-1", "alice-0"]
    assert await listed(created_by="", before=None, limit=10) == (names, 6)
    after = (at, "bob-1")
    assert await listed(created_by="", before=after, limit=2) == (["bob-0", "alice-1"], 6)
    assert await listed(created_by="bob", before=after, limit=2) == (["bob-0"], 3)
    assert await listed(created_by="bob", before=(at, "bob-0"), limit=2) == ([], 3)
    among = {"created_by": "", "before": after, "limit": 2}
    assert await listed(namespaces=["alice's", "other"], **among) == (["alice-1", "alice-0"], 3)
    assert await listed(namespaces=["bob's", "alice's"], **among) == (["bob-0", "alice-1"], 6)
    assert await listed(namespaces=[], **among) == ([], 0)
