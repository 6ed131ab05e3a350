"""What lies in the stores and tables of a mesh, to compare before and after."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.caller import Caller
from tests.support.mesh import MeshProcess
from tests.support.waiting import until_answered

ELEMENTS = ("se-01", "se-02", "se-03")
SIDECAR = ".attr.json"
# Files that belong to the element itself.
OWN_NAMES = frozenset({"element.json", "element.lock"})
TABLES = ("files", "pending_writes", "uploads")


@dataclass(frozen=True)
class Holdings:
    """Everything that one or more elements hold.

    Attributes:
        objects: size by `folder/path`, stages and hidden files included.
        rows: `table:key` of what stands in the tables.
        reserved_bytes: promised to open uploads.
        multiparts: open multipart uploads, on S3.
    """

    objects: Mapping[str, int] = field(default_factory=dict)
    rows: frozenset[str] = frozenset()
    reserved_bytes: int = 0
    multiparts: frozenset[str] = frozenset()

    def beyond(self, before: Holdings) -> dict[str, Any]:
        """What is here and was not before; empty when nothing is."""
        told = {
            "objects": sorted(self.objects.keys() - before.objects.keys()),
            "rows": sorted(self.rows - before.rows),
            "multiparts": sorted(self.multiparts - before.multiparts),
            "reserved": max(0, self.reserved_bytes - before.reserved_bytes),
        }
        return {name: value for name, value in told.items() if value}


async def holdings(mesh: MeshProcess, caller: Caller) -> Holdings:
    """Look at all elements of a mesh."""
    objects, multiparts = await asyncio.to_thread(_stored, mesh)
    reserved = [(await caller.element(name)).reserved_bytes for name in ELEMENTS]
    return Holdings(objects, await _rows(mesh), sum(reserved), multiparts)


async def nothing_left(
    mesh: MeshProcess, caller: Caller, before: Holdings, *, seconds: float = 5.0
) -> None:
    """Wait until the mesh holds nothing that it did not hold before."""
    left: dict[str, Any] = {}

    async def clean() -> bool:
        left.clear()
        left.update((await holdings(mesh, caller)).beyond(before))
        return not left

    try:
        await until_answered(clean, seconds, "nothing is left behind")
    except TimeoutError:
        raise AssertionError(f"left behind: {left}") from None


def _stored(mesh: MeshProcess) -> tuple[dict[str, int], frozenset[str]]:
    if "ARTSTORE_S3_BUCKET" in mesh.environment:
        return _stored_on_s3(mesh)
    found: dict[str, int] = {}
    for name in ELEMENTS:
        folder = store_folder(name)
        for path, size in local_files(mesh.data_dir / folder):
            found[f"{folder}/{path}"] = size
    return found, frozenset()


def store_folder(element: str) -> str:
    """Folder or prefix of an element."""
    return f"storage_element_{element.removeprefix('se-')}"


def local_files(root: Path) -> Iterator[tuple[str, int]]:
    """All files of an element's folder but its own, with their sizes."""
    # `os.walk` passes over folders that go meanwhile.
    paths = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    for path in paths:
        if path.name not in OWN_NAMES:
            with suppress(FileNotFoundError):
                yield path.relative_to(root).as_posix(), path.stat().st_size


def _stored_on_s3(mesh: MeshProcess) -> tuple[dict[str, int], frozenset[str]]:
    client, bucket = s3_client(mesh), mesh.environment["ARTSTORE_S3_BUCKET"]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found = {
        entry["Key"]: entry["Size"]
        for page in pages
        for entry in page.get("Contents", ())
        if entry["Key"].rpartition("/")[2] not in OWN_NAMES
    }
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    return found, frozenset(f"{entry['Key']}#{entry['UploadId']}" for entry in uploads)


def s3_client(mesh: MeshProcess) -> Any:
    """A blocking client of the mesh's bucket."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=mesh.environment["ARTSTORE_S3_ENDPOINT_URL"],
        aws_access_key_id=mesh.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=mesh.environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


async def _rows(mesh: MeshProcess) -> frozenset[str]:
    connection = await asyncpg.connect(mesh.file.database_url)
    try:
        found: set[str] = set()
        for name in ELEMENTS:
            prefix = f"storage_elem_{name.removeprefix('se-')}_"
            for table in TABLES:
                key = "upload_id" if table == "uploads" else "file_id"
                rows = await connection.fetch(f"SELECT {key}::text FROM public.{prefix}{table}")
                found |= {f"{prefix}{table}:{row[0]}" for row in rows}
        return frozenset(found)
    finally:
        await connection.close()


def sidecars_of(mesh: MeshProcess, element: str) -> dict[str, dict[str, Any]]:
    """The sidecars of an element, tombstones too, by file id."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths_of(mesh, element):
        if path.endswith(SIDECAR) and not path.rpartition("/")[2].startswith("."):
            sidecar = json.loads(_content(mesh, f"{store_folder(element)}/{path}"))
            found[sidecar["file_id"]] = sidecar
    return found


def paths_of(mesh: MeshProcess, element: str) -> frozenset[str]:
    """Paths of everything that an element's store holds but its own files."""
    folder = f"{store_folder(element)}/"
    objects, _ = _stored(mesh)
    return frozenset(path.removeprefix(folder) for path in objects if path.startswith(folder))


def _content(mesh: MeshProcess, path: str) -> bytes:
    bucket = mesh.environment.get("ARTSTORE_S3_BUCKET")
    if bucket is None:
        return (mesh.data_dir / path).read_bytes()
    content: bytes = s3_client(mesh).get_object(Bucket=bucket, Key=path)["Body"].read()
    return content
