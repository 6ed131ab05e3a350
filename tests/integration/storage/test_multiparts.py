"""Multipart uploads that nobody will complete are aborted, on an S3 server that lists them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage_server.domain.file_id import new_file_id
from storage_server.domain.naming import folder_of
from storage_server.upkeep import sweep
from tests.support.services import S3Account, S3Process
from tests.support.storage_rig import Rig, noise
from tests.support.waiting import until

PREFIX = "storage_element_01"
MIB = 1024 * 1024


async def test_dead_multipart_uploads_are_aborted_and_open_ones_are_kept(
    s3_rig: Rig, s3_server: S3Process, s3: S3Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_server.client()

    def uploads() -> set[str]:
        found = client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])
        return {upload["UploadId"] for upload in found}

    def dead_upload() -> str:
        """As a process leaves it that was killed in the midst of a stream."""
        created_at = datetime.now(UTC) - timedelta(days=1)
        key = f"{PREFIX}/{folder_of(created_at)}/a_b_{new_file_id(created_at)}.txt"
        made = client.create_multipart_upload(Bucket=s3.bucket, Key=key)
        return str(made["UploadId"])

    data = noise(9 * MIB)
    async with s3_rig.running() as node:
        opened = await node.start_upload(size_bytes=len(data))
        at = await node.write_upload(opened, data)
        (kept,) = uploads()
    before = dead_upload()
    monkeypatch.setattr(sweep, "GRACE_SECONDS", 0.0)
    async with s3_rig.running() as node:
        # The writer that has just started knows that all other processes are dead.
        await until(lambda: before not in uploads())
        assert uploads() == {kept}
        await node.write_upload(opened, data[at:], offset=at)
        answer = await node.commit_upload(opened)
        assert await node.download(answer.file.file_id) == data
    assert uploads() == set()
