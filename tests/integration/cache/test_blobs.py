"""Blobs: missing ones, orphans, and those of uploads under way."""

from __future__ import annotations

import pytest

from storage_server.cache.report import Finding, Level
from storage_server.catalog.pulls import PullRow
from storage_server.catalog.uploads import UploadRow
from storage_server.domain.kinds import ChangeKind
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import Sidecar
from storage_server.store.port import StagedState
from tests.support.cache_rig import CacheRig, a_sidecar, path_of, utc_now
from tests.support.origins import BY_ALICE


@pytest.fixture
def rig(any_rig: CacheRig) -> CacheRig:
    """Each test on both stores."""
    return any_rig


def blob_of(sidecar: Sidecar) -> str:
    return blob_path(sidecar.storage_path, sidecar.storage_filename)


async def test_a_missing_blob_makes_its_file_inconsistent(rig: CacheRig) -> None:
    lost, _ = await rig.upload_many(2)
    rig.backdoor.remove(blob_of(lost))
    for level in Level:
        report = await rig.check(level)
        assert report.details(Finding.MISSING_BLOB) == [lost.file_id]
        assert report.findings == 1
        assert report.inconsistency_percentage == 50
        assert not report.is_consistent


async def test_a_blob_without_a_sidecar_is_an_orphan_and_harmless(rig: CacheRig) -> None:
    await rig.upload()
    rig.backdoor.write("2026/01/02/03/left over.bin", b"x")
    for level in Level:
        report = await rig.check(level)
        assert report.details(Finding.ORPHAN_BLOB) == ["2026/01/02/03/left over.bin"]
        assert report.is_consistent
        assert report.inconsistency_percentage == 0


async def test_blobs_of_open_uploads_pulls_and_intents_are_no_orphans(rig: CacheRig) -> None:
    uploading, committing, coming = a_sidecar(), a_sidecar(), a_sidecar()
    for sidecar in (uploading, committing, coming):
        await rig.place_blob(sidecar, b"hello")
    await rig.catalog.pulls.put(
        PullRow(
            file_id=coming.file_id,
            path=blob_of(coming),
            sha256="0" * 64,
            size_bytes=5,
            stage=StagedState(""),
            began_at=utc_now(),
            touched_at=utc_now(),
        )
    )
    await rig.catalog.uploads.create(
        UploadRow(
            upload_id="se-01.u",
            file_id=uploading.file_id,
            path=blob_of(uploading),
            created_by="alice",
            request_id="",
            header=b"",
            token_hash=b"",
            reserved_bytes=0,
            stage=StagedState("u"),
            created_at=utc_now(),
            touched_at=utc_now(),
        )
    )
    await rig.catalog.pending.begin_write(
        committing.file_id, path_of(committing), ChangeKind.CREATED, by=BY_ALICE, revision=1
    )
    for level in Level:
        assert (await rig.check(level)).findings == 0


async def test_the_blob_of_a_tombstone_may_be_there_or_not(rig: CacheRig) -> None:
    gone, kept = await rig.upload_many(2)
    await rig.delete(gone)
    await rig.delete(kept)
    await rig.store.delete_blob(blob_of(gone))
    assert await rig.catalog.writes.blob_removed(gone.file_id)
    for level in Level:
        assert (await rig.check(level)).findings == 0
    await rig.sql("DELETE FROM {files}")
    await rig.full()
    head = await rig.catalog.feed.head()
    assert head.used_bytes == kept.size_bytes


@pytest.mark.parametrize("content", [b"", b"hell", b"hello and more"])
async def test_a_blob_of_another_size_is_found_without_reading_it(
    rig: CacheRig, content: bytes
) -> None:
    cut, _ = await rig.upload_many(2)
    rig.backdoor.write(blob_of(cut), content)
    for level in Level:
        report = await rig.check(level)
        assert report.details(Finding.MISSING_BLOB) == [
            f"{cut.file_id}: its blob has {len(content)} bytes, its sidecar says 5"
        ]
        assert report.findings == 1
        assert report.inconsistency_percentage == 50


@pytest.mark.parametrize("lost", [True, False])
async def test_a_blob_of_another_size_is_found_whatever_its_row_says(
    rig: CacheRig, lost: bool
) -> None:
    cut, _ = await rig.upload_many(2)
    rig.backdoor.write(blob_of(cut), b"hell")
    if lost:
        await rig.lose_row(cut)
    else:
        rig.edit(cut, description="by hand")
    report = await rig.check()
    (detail,) = report.details(Finding.MISSING_BLOB)
    assert detail == f"{cut.file_id}: its blob has 4 bytes, its sidecar says 5"
    assert report.count(Finding.ORPHAN_ATTR if lost else Finding.STALE) == 1
    assert report.inconsistency_percentage == 50


async def test_deep_hashes_blobs_again(rig: CacheRig) -> None:
    rotten, _ = await rig.upload_many(2)
    rig.backdoor.write(blob_of(rotten), b"hellO")
    assert (await rig.check(Level.FULL)).is_consistent
    report = await rig.check(Level.DEEP)
    assert report.details(Finding.MISSING_BLOB) == [rotten.file_id]
    assert report.inconsistency_percentage == 50


async def test_deep_finds_a_sidecar_that_changed_without_a_trace(rig: CacheRig) -> None:
    sidecar, other = await rig.upload_many(2)
    edited = rig.edit(sidecar, description="by hand")
    found = await rig.store.stat_sidecar(path_of(edited))
    assert found is not None
    await rig.sql(
        "UPDATE {files} SET sidecar_mtime_ns = $2, sidecar_inode = $3, sidecar_size = $4,"
        " sidecar_etag = $5 WHERE file_id = $1",
        sidecar.file_id, found.mtime_ns, found.inode, found.size, found.etag,
    )  # fmt: skip
    assert (await rig.check(Level.FULL)).is_consistent
    report = await rig.check(Level.DEEP)
    assert report.details(Finding.STALE) == [sidecar.file_id]
    assert other.file_id not in report.details(Finding.STALE)


async def test_many_findings_are_counted_once_each(rig: CacheRig) -> None:
    """More than the ten that the report shows, so that what is shown decides nothing."""
    made = await rig.upload_many(14)
    for sidecar in made[:12]:
        rig.backdoor.remove(blob_of(sidecar))
    for level in Level:
        report = await rig.check(level)
        assert report.count(Finding.MISSING_BLOB) == 12
        assert len(report.details(Finding.MISSING_BLOB)) == 10
        assert report.inconsistency_percentage == pytest.approx(1200 / 14)
