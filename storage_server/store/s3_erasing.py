"""Removing whatever a bucket has of one file, with the versions that it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import aclosing
from typing import Any

from mesh.errors import Unavailable
from storage_server.domain.naming import is_sidecar_name
from storage_server.store import s3_listing, s3_uploads
from storage_server.store.paths import QUARANTINE
from storage_server.store.s3_client import Refused, S3Client
from storage_server.store.threads import Threads

# The client parses a page in the event loop: 1,000 entries would take it a fifth of a second.
_PAGE = 100
# Not implemented, or how some servers say that they know no versions.
_NO_VERSIONS = frozenset({400, 404, 405, 501})


async def erase(
    client: S3Client,
    threads: Threads,
    prefix: str,
    file_id: str,
    folders: Collection[str],
    *,
    others: Collection[str],
    keep: str,
) -> None:
    """See `storage_server.store.port.Store.erase`."""

    def is_of_file(path: str) -> bool:
        return path != keep and (file_id in path.lower() or path in others)

    below = [*(f"{folder}/" for folder in folders), f"{QUARANTINE}/"]
    for start in below:
        for key, path, _ in await s3_uploads.under_way(client, prefix + start):
            if is_of_file(start + path):
                await s3_uploads.abort_upload(client, prefix + start + path, key)
        async with aclosing(s3_listing.pages(client, threads, prefix, start)) as found:
            names = [one.path async for page in found for one in page]
        await _remove(client, prefix, filter(is_of_file, names))
    await _remove(client, prefix, filter(is_of_file, others))
    if await _keeps_versions(client):
        for start in (*below, *others):
            await _remove_versions(client, prefix, start, is_of_file)


async def _remove(client: S3Client, prefix: str, paths: Iterable[str]) -> None:
    for path in sorted(paths, key=is_sidecar_name):
        await _delete(client, prefix + path)


async def _remove_versions(
    client: S3Client, prefix: str, start: str, is_of_file: Callable[[str], bool]
) -> None:
    """Those of objects that are there no more as well; a marker that one was removed names it."""
    gone = [
        (path, version)
        async for path, version in _versions(client, prefix, start)
        if is_of_file(path)
    ]
    for path, version in sorted(gone, key=lambda one: is_sidecar_name(one[0])):
        await _delete(client, prefix + path, VersionId=version)


async def _versions(client: S3Client, prefix: str, start: str) -> AsyncIterator[tuple[str, str]]:
    marker: dict[str, Any] = {}
    while True:
        try:
            page = await client.call_once(
                "list_object_versions", Prefix=prefix + start, MaxKeys=_PAGE, **marker
            )
        except Refused as exc:
            raise client.unexpected(exc, f"listing versions below {start}") from exc
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            yield str(one["Key"]).removeprefix(prefix), str(one["VersionId"])
        if not page.get("IsTruncated"):
            return
        after = {
            "KeyMarker": page.get("NextKeyMarker", ""),
            "VersionIdMarker": page.get("NextVersionIdMarker", ""),
        }
        if after == marker:
            raise Unavailable("S3 cut a list of versions off without saying how to go on")
        marker = after


async def _keeps_versions(client: S3Client) -> bool:
    """Whether the bucket keeps versions now, or has kept some earlier."""
    try:
        answer = await client.call("get_bucket_versioning")
    except Refused as exc:
        refusal, error = exc, client.unexpected(exc, "asking whether it keeps versions")
    except Unavailable as exc:
        if not isinstance(exc.__cause__, Refused):
            raise
        refusal, error = exc.__cause__, exc
    else:
        return bool(answer.get("Status"))
    if refusal.status in _NO_VERSIONS:
        return False
    raise error


async def _delete(client: S3Client, key: str, **version: Any) -> None:
    try:
        await client.call("delete_object", key, **version)
    except Refused as exc:
        if exc.status != 404:
            raise client.unexpected(exc, "removing what is erased") from exc
