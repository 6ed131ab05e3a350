"""The multipart uploads of a bucket, as the server knows them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import UTC, datetime
from typing import Any

from mesh.errors import DataLoss
from storage_server.store.s3_client import Refused, S3Client

# Not implemented, or how rclone says that there are none.
_NO_UPLOADS_STATUSES = frozenset({404, 501})

Part = tuple[int, str, int, int]
"""Number, etag, size and CRC32C."""


async def under_way(client: S3Client, prefix: str) -> Sequence[tuple[str, str, float]]:
    """Id, path below `prefix` and age in seconds of each; none where the server cannot list them.

    Raises:
        Unavailable: the server is down or refuses.
    """
    now = datetime.now(UTC)
    found: list[tuple[str, str, float]] = []
    marker: dict[str, Any] = {}
    while True:
        try:
            answer = await client.call("list_multipart_uploads", Prefix=prefix, **marker)
        except Refused as exc:
            if exc.status in _NO_UPLOADS_STATUSES:
                return found
            raise client.unexpected(exc, "listing uploads") from exc
        for upload in answer.get("Uploads", ()):
            age = (now - upload["Initiated"]).total_seconds()
            path = str(upload["Key"]).removeprefix(prefix)
            found.append((str(upload["UploadId"]), path, max(0.0, age)))
        if not answer.get("IsTruncated"):
            return found
        marker = {
            "KeyMarker": answer.get("NextKeyMarker", ""),
            "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
        }


async def has_parts(client: S3Client, key: str, upload_id: str, parts: Sequence[Part]) -> bool:
    """Whether the upload is there; then it has all `parts`.

    Raises:
        DataLoss: reason STAGE_LOST, it lacks one.
        Unavailable: the server is down or refuses.
    """
    listed = await _listed_parts(client, key, upload_id)
    if listed is None:
        return False
    for number, etag, size, _ in parts:
        if (number, etag.strip('"'), size) not in listed:
            raise DataLoss(f"part {number} of the upload is gone", reason="STAGE_LOST")
    return True


async def _listed_parts(
    client: S3Client, key: str, upload_id: str
) -> Set[tuple[int, str, int]] | None:
    """Number, etag and size of each part; None when there is no such upload.

    SeaweedFS keeps all parts that were sent under a number, also an empty one whose sender was
    killed, and takes the one whose etag it is told.
    """
    found: set[tuple[int, str, int]] = set()
    marker = 0
    while True:
        try:
            answer = await client.call(
                "list_parts", key, UploadId=upload_id, PartNumberMarker=marker
            )
        except Refused as exc:
            if exc.status == 404:
                return None
            raise client.unexpected(exc, f"listing parts of {key}") from exc
        for part in answer.get("Parts", ()):
            etag = str(part["ETag"]).strip('"')
            found.add((int(part["PartNumber"]), etag, int(part["Size"])))
        if not answer.get("IsTruncated"):
            return found
        marker = int(answer["NextPartNumberMarker"])


async def abort_upload(client: S3Client, key: str, upload_id: str) -> None:
    """Abort a multipart upload. One that is gone is fine."""
    try:
        await client.call("abort_multipart_upload", key, UploadId=upload_id)
    except Refused as exc:
        if exc.status != 404:
            raise client.unexpected(exc, f"aborting an upload of {key}") from exc
