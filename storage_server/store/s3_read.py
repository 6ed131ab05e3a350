"""Reading a blob from S3, over a broken connection too."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from mesh.errors import DataLoss, Unavailable
from storage_server.store.port import ChunkSize, sizes_of
from storage_server.store.s3_client import Refused, S3Client

_MAX_FAILURES = 2


async def read_blob(
    client: S3Client, key: str, *, offset: int, length: int, chunk_size: ChunkSize
) -> AsyncIterator[bytes]:
    """See `storage_server.store.port.Store.read_blob`. A stream that breaks is opened again."""
    end = offset + length if length else None
    next_size = sizes_of(chunk_size)
    failures, moved_at = 0, time.monotonic()
    while end is None or offset < end:
        try:
            seconds = client.seconds_for(end or offset)
            async with client.streaming(key, _range(offset, end), reader_seconds=seconds) as answer:
                _check_range(answer, offset, client.name(key))
                if end is None:
                    end = offset + int(answer["ContentLength"])
                while data := await client.read(
                    key, answer["Body"], min(next_size(), end - offset)
                ):
                    offset += len(data)
                    failures = 0
                    yield data
                    moved_at = time.monotonic()
        except Refused as exc:
            if exc.missing:
                raise DataLoss(
                    f"{client.name(key)}: the bytes are gone: put them back from a backup, or "
                    "remove the file",
                    reason="BLOB_MISSING",
                ) from exc
            if exc.status != 416:
                raise client.unexpected(exc, f"reading {key}") from exc
            end = offset if end is None else end
            break
        except Unavailable:
            failures += 1
            # A server that is silent is not waited for once more by whoever waits for the bytes.
            silent = time.monotonic() - moved_at >= client.deadline_seconds
            if failures > _MAX_FAILURES or silent:
                raise
        else:
            break
    if end is not None and offset < end:
        raise DataLoss(
            f"{client.name(key)}: the bytes end at {offset}, not at {end}", reason="BLOB_SHORT"
        )


def _range(offset: int, end: int | None) -> str:
    if end is None:
        return f"bytes={offset}-" if offset else ""
    return f"bytes={offset}-{end - 1}"


def _check_range(answer: dict[str, Any], offset: int, name: str) -> None:
    # By the header, since rclone answers a range with status 200.
    if offset and not str(answer.get("ContentRange", "")).startswith(f"bytes {offset}-"):
        raise Unavailable(f"S3 ignores the range asked of {name}")
