"""What an S3 server is asked before an element works on it, and whether it lets it write."""

from __future__ import annotations

from typing import Any

from mesh.errors import ResourceExhausted, StoreReadOnly, Unavailable
from storage_server.store.s3_client import Refused, S3Client

_CONDITIONS: tuple[dict[str, Any], ...] = (
    {"IfMatch": '"0123456789abcdef0123456789abcdef"'},
    {"IfNoneMatch": "*"},
)
_TRIES = 3


async def make_bucket(client: S3Client, region: str) -> None:
    """Make the bucket if it is missing.

    Args:
        region: where to; empty means where the server likes.
    """
    try:
        await client.call("head_bucket")
        return
    except Refused as exc:
        if exc.code not in ("404", "NoSuchBucket", "NotFound"):
            raise client.unexpected(exc, "looking for it") from exc
    more: dict[str, Any] = {}
    if region not in ("", "us-east-1"):
        more["CreateBucketConfiguration"] = {"LocationConstraint": region}
    try:
        await client.call("create_bucket", **more)
    except Refused as exc:
        if exc.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise client.unexpected(exc, "making it") from exc


async def try_write(client: S3Client, prefix: str) -> None:
    """PUT a small object beside the blobs and DELETE it; see `storage_server.store.port`."""
    key = f"{prefix}/.write-probe"
    try:
        await client.call("put_object", key, Body=b"1")
        await client.call("delete_object", key)
    except Refused as exc:
        raise Unavailable(
            f"the S3 server refuses a small object: {exc.code}", reason="STORAGE_DOWN"
        ) from exc
    except ResourceExhausted as exc:
        raise ResourceExhausted("the bucket is full", reason=exc.reason) from exc
    except StoreReadOnly as exc:
        raise StoreReadOnly("the S3 server does not let it write to the bucket") from exc


async def honours_conditions(client: S3Client, prefix: str) -> bool:
    """Try a PUT that any server with conditional PUT refuses. Some accept it and overwrite.

    Tried on one key, so that the next start removes what a killed one has left; where another start
    has removed it in between it is tried again.
    """
    key = f"{prefix}/.conditional-put"
    try:
        for _ in range(_TRIES):
            if await _refuses(client, key):
                return True
        return False
    except (Refused, StoreReadOnly, ResourceExhausted):
        # Not to be found out now: the writer then checks its lock before each sidecar.
        return False


async def _refuses(client: S3Client, key: str) -> bool:
    await client.call("put_object", key, Body=b"1")
    try:
        for condition in _CONDITIONS:
            try:
                await client.call("put_object", key, Body=b"2", **condition)
            except Refused as exc:
                if exc.status != 412:
                    return False
            else:
                return False
        return True
    finally:
        await client.call("delete_object", key)
