"""What an S3 server is asked once, before an element works on it."""

from __future__ import annotations

import secrets
from typing import Any

from storage_server.store.s3_client import Refused, S3Client

_CONDITIONS: tuple[dict[str, Any], ...] = (
    {"IfMatch": '"0123456789abcdef0123456789abcdef"'},
    {"IfNoneMatch": "*"},
)


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


async def honours_conditions(client: S3Client, prefix: str) -> bool:
    """Try a PUT that any server with conditional PUT refuses. Some accept it and overwrite."""
    key = f"{prefix}/.conditional-put-{secrets.token_hex(8)}"
    try:
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
    except Refused:
        return False
