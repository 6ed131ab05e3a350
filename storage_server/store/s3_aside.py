"""What is set aside below a prefix of a bucket."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from mesh.errors import FailedPrecondition, Unavailable
from storage_server.store import s3_listing
from storage_server.store.paths import QUARANTINE, check_key
from storage_server.store.s3_client import Refused, S3Client
from storage_server.store.s3_object import content_md5
from storage_server.store.threads import Threads

_MAX_COPY_BYTES = 5 << 30


async def keep(client: S3Client, prefix: str, name: str, content: bytes) -> None:
    """PUT it."""
    check_key(name)
    key = f"{prefix}{QUARANTINE}/{name}"
    try:
        await client.call("put_object", key, Body=content, ContentMD5=content_md5(content))
    except Refused as exc:
        raise client.unexpected(exc, f"setting {name} aside") from exc


async def names(client: S3Client, threads: Threads, prefix: str) -> Sequence[str]:
    """What is there."""
    start = QUARANTINE + "/"
    found: list[str] = []
    async with contextlib.aclosing(s3_listing.pages(client, threads, prefix, start)) as pages:
        async for page in pages:
            found += [entry.path.removeprefix(start) for entry in page]
    return found


async def remove(client: S3Client, prefix: str, name: str) -> None:
    """DELETE it."""
    check_key(name)
    try:
        await client.call("delete_object", f"{prefix}{QUARANTINE}/{name}")
    except Refused as exc:
        if not exc.missing:
            raise client.unexpected(exc, f"removing {name} from {QUARANTINE}") from exc


async def move(client: S3Client, prefix: str, path: str, to: str, size: int) -> None:
    """Copy an object of that size and remove it: S3 renames nothing.

    Raises:
        FailedPrecondition: it is too large.
        Unavailable: the copy is not whole; it stays under both names.
    """
    if size > _MAX_COPY_BYTES:
        raise FailedPrecondition(
            f"{path}: it has more than 5 GiB, which S3 does not copy in one call: copy it "
            f"with a tool, then remove it; the copy is {to}",
            reason="TOO_LARGE_TO_COPY",
        )
    try:
        await client.call_once(
            "copy_object",
            prefix + to,
            seconds=client.seconds_for(size),
            CopySource={"Bucket": client.bucket, "Key": prefix + path},
        )
        if await size_of(client, prefix + to) != size:
            raise Unavailable(
                f"{path}: its copy is not whole: it stays under both names",
                reason="STORAGE_DOWN",
            )
        await client.call("delete_object", prefix + path)
    except Refused as exc:
        raise client.unexpected(exc, f"copying {path}") from exc


async def size_of(client: S3Client, key: str) -> int | None:
    """Bytes of an object; None when it is not there."""
    answer = await _head(client, key)
    return None if answer is None else int(answer["ContentLength"])


async def age_seconds(client: S3Client, key: str) -> float | None:
    """How long ago an object was written, by the server's word; None when it is not there."""
    answer = await _head(client, key)
    return None if answer is None else max(0.0, time.time() - answer["LastModified"].timestamp())


async def _head(client: S3Client, key: str) -> dict[str, Any] | None:
    try:
        return await client.call("head_object", key)
    except Refused as exc:
        if not exc.missing:
            raise client.unexpected(exc, f"looking at {key.rpartition('/')[2]}") from exc
        return None
