"""A file goes in through ingest, lands as blob, sidecar and row, and comes back byte for byte.

Each test runs on local files and on S3, through gRPC only; what is stored is looked at besides.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import timedelta

import asyncpg
import pytest
from google.protobuf import field_mask_pb2

from artstore.v1 import storage_pb2, types_pb2
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside
from tests.support.services import S3Process

MEBIBYTE = 2**20


@pytest.fixture
def outside(mesh: MeshProcess) -> Iterator[Outside]:
    """A caller with the first account."""
    with Outside(mesh.file) as caller:
        yield caller


def content_of(size: int, seed: int = 1) -> bytes:
    """Return bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


def stored(mesh: MeshProcess, s3_server: S3Process, element: str, key: str) -> bytes:
    """Return what lies in an element's store under `key`."""
    store = f"storage_element_{element.removeprefix('se-')}"
    bucket = mesh.environment.get("ARTSTORE_S3_BUCKET")
    if bucket is None:
        return (mesh.data_dir / store / key).read_bytes()
    found = s3_server.client().get_object(Bucket=bucket, Key=f"{store}/{key}")
    body: bytes = found["Body"].read()
    return body


async def test_ten_mebibytes_land_as_blob_sidecar_and_row(
    mesh: MeshProcess, outside: Outside, s3_server: S3Process
) -> None:
    content = content_of(10 * MEBIBYTE)
    file = outside.upload(content, "report.bin", content_type="application/octet-stream")
    assert file.storage_element_id == "se-01"
    assert file.size_bytes == len(content)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.retention_policy == types_pb2.RETENTION_POLICY_TEMPORARY
    assert file.retention_days == 30
    lasting = file.expires_at.ToDatetime() - file.created_at.ToDatetime()
    assert lasting == timedelta(days=30)

    blob = f"{file.storage_path}/{file.storage_filename}"
    assert stored(mesh, s3_server, "se-01", blob) == content
    sidecar = json.loads(stored(mesh, s3_server, "se-01", f"{blob}.attr.json"))
    assert sidecar["file_id"] == file.file_id
    assert sidecar["sha256"] == file.sha256
    assert sidecar["retention_policy"] == "temporary"
    assert sidecar["created_by"] == file.created_by == mesh.file.client_id
    row = await _row(mesh, file.file_id)
    assert (row["size_bytes"], row["sha256"]) == (len(content), file.sha256)


async def _row(mesh: MeshProcess, file_id: str) -> asyncpg.Record:
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        row = await connection.fetchrow(
            "select * from storage_elem_01_files where file_id::text = $1", file_id
        )
        assert row is not None
        return row
    finally:
        await connection.close()


def test_download_gives_the_same_bytes_and_ranges(outside: Outside) -> None:
    content = content_of(10 * MEBIBYTE, 2)
    file = outside.upload(content, "again.bin")
    header, whole = outside.download("se-01", file.file_id)
    assert header.sha256 == file.sha256
    assert hashlib.md5(whole).digest() == hashlib.md5(content).digest()
    for offset, length in ((0, 1), (1, MEBIBYTE), (5 * MEBIBYTE + 3, 700_001), (len(content), 0)):
        expected = content[offset : offset + length] if length else content[offset:]
        assert outside.download("se-01", file.file_id, offset, length)[1] == expected


def test_cache_fields_are_in_every_answer(outside: Outside) -> None:
    file = outside.upload(b"cache me", "cache.txt")
    got = outside.get("se-01", file.file_id)
    listed = {entry.file_id: entry for entry in outside.list("se-01").files}[file.file_id]
    updated = (
        outside.storage("se-01")
        .UpdateFile(
            storage_pb2.UpdateFileRequest(
                file_id=file.file_id,
                file=types_pb2.File(description="looked at"),
                update_mask=field_mask_pb2.FieldMask(paths=["description"]),
                expected_revision=got.revision,
            ),
            **outside.auth,
        )
        .file
    )
    assert updated.description == "looked at"
    assert updated.revision == got.revision + 1
    for answer in (got, listed, updated):
        assert answer.HasField("cache_updated_at")
        assert answer.cache_ttl_hours == 24
        assert not answer.cache_expired
        assert not answer.cache_stale
    assert updated.cache_updated_at.ToDatetime() >= got.cache_updated_at.ToDatetime()


def test_list_counts_all_files(outside: Outside) -> None:
    before = outside.list("se-01").total_size
    first = outside.upload(b"one", "one.txt")
    second = outside.upload(b"two", "two.txt")
    page = outside.list("se-01")
    assert page.total_size == before + 2
    assert {first.file_id, second.file_id} <= {file.file_id for file in page.files}
    assert outside.download("se-01", second.file_id)[1] == b"two"


def test_permanent_files_go_to_the_rw_element(outside: Outside) -> None:
    file = outside.upload(
        b"for good", "deed.pdf", retention_policy=types_pb2.RETENTION_POLICY_PERMANENT
    )
    assert file.storage_element_id == "se-03"
    assert not file.HasField("expires_at")
    assert outside.download("se-03", file.file_id)[1] == b"for good"


def test_empty_file_is_a_file(outside: Outside) -> None:
    file = outside.upload(b"", "empty")
    assert file.size_bytes == 0
    assert outside.download("se-01", file.file_id)[1] == b""
