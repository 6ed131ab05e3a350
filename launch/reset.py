"""`python -m launch.reset` (`make reset`): empty the stores, the tables and Valkey.

The next start is a first start. Services of the user's own (ARTSTORE_DATABASE_URL,
ARTSTORE_REDIS_URL, ARTSTORE_S3_*) lose what belongs to ArtStore and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import asyncpg

from launch import topology
from launch.data_folder import AlreadyRunning, DataFolder, DataFolderUnusable
from launch.socket_folder import socket_folder_of
from launch.topology import LaunchSettings, TopologyError
from mesh.calls.loopback import on_loopback
from mesh.errors import ArtStoreError
from mesh.postgres.urls import with_database
from mesh.redis import open_redis, translated

_TIMEOUT_SECONDS = 10.0
_REDIS_PATTERN = "artstore:*"
_DELETE_BATCH = 1000


def table_prefixes() -> list[str]:
    """Return the prefixes of the elements' tables, `storage_elem_01_`."""
    return [f"storage_elem_{plan.number}_" for plan in topology.ELEMENTS]


def store_prefixes() -> list[str]:
    """Return the names of the elements' stores, `storage_element_01`."""
    return [f"storage_element_{plan.number}" for plan in topology.ELEMENTS]


def empty_folder(folder: DataFolder) -> None:
    """Delete all that ArtStore keeps in its data folder; files of others stay."""
    shutil.rmtree(socket_folder_of(folder.postgres), ignore_errors=True)
    for name in folder.entries(store_prefixes()):
        path = folder.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


async def empty_database(url: str, server_databases: Iterable[str]) -> None:
    """Drop the elements' tables in the database of `url`, and the databases of the servers."""
    connection: asyncpg.Connection[Any]
    try:
        connection = await asyncpg.connect(url, timeout=_TIMEOUT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(with_database(url, "postgres"), timeout=_TIMEOUT_SECONDS)
    try:
        for kind in ("tables", "sequences"):
            await _drop_ours(connection, kind)
        for name in server_databases:
            quoted = name.replace('"', '""')
            await connection.execute(f'drop database if exists "{quoted}" with (force)')
    finally:
        await connection.close()


async def _drop_ours(connection: asyncpg.Connection[Any], kind: str) -> None:
    singular = kind.removesuffix("s")
    found = await connection.fetch(
        f"select schemaname as schema, {singular}name as name from pg_{kind} "
        f"where schemaname = 'public' and exists "
        f"(select 1 from unnest($1::text[]) prefix where starts_with({singular}name, prefix))",
        table_prefixes(),
    )
    for row in found:
        await connection.execute(f'drop {singular} if exists public."{row["name"]}" cascade')


async def empty_redis(url: str) -> None:
    """Delete the keys that begin with `artstore:`."""
    client = open_redis(url)
    try:
        with translated("Valkey"):
            found = [key async for key in client.scan_iter(match=_REDIS_PATTERN, count=1000)]
            for start in range(0, len(found), _DELETE_BATCH):
                await client.delete(*found[start : start + _DELETE_BATCH])
    finally:
        await client.aclose()


async def empty_bucket(endpoint_url: str, bucket: str) -> None:
    """Delete the elements' objects and their open multipart uploads; the bucket stays."""
    import aioboto3
    from aiobotocore.config import AioConfig
    from botocore.exceptions import ClientError

    config = AioConfig(
        proxies={} if on_loopback(endpoint_url) else None,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    async with aioboto3.Session().client("s3", endpoint_url=endpoint_url, config=config) as client:
        for prefix in store_prefixes():
            try:
                await _empty_prefix(client, bucket, f"{prefix}/")
            except ClientError as refused:
                if refused.response.get("Error", {}).get("Code") != "NoSuchBucket":
                    raise
                return


async def _empty_prefix(client: Any, bucket: str, prefix: str) -> None:
    async for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix
    ):
        await _delete(client, bucket, [entry["Key"] for entry in page.get("Contents", [])])
    try:
        async for page in client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=prefix
        ):
            for upload in page.get("Uploads", []):
                await client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
    except client.exceptions.NoSuchUpload:
        # What rclone answers to the listing when a bucket never had one.
        return


async def _delete(client: Any, bucket: str, keys: Iterable[str]) -> None:
    # One by one: DeleteObjects needs a Content-MD5 that not every S3 server agrees on.
    for key in keys:
        await client.delete_object(Bucket=bucket, Key=key)


async def reset(settings: LaunchSettings, folder: DataFolder) -> None:
    """Empty everything; the folder must be held."""
    await asyncio.to_thread(folder.end_leftovers)
    if settings.database_url:
        await empty_database(settings.database_url, topology.server_databases(settings))
    if settings.redis_url:
        await empty_redis(settings.redis_url)
    if settings.s3_endpoint_url:
        await empty_bucket(settings.s3_endpoint_url, settings.s3_bucket)
    empty_folder(folder)


def main() -> int:
    """Reset and return the exit code."""
    try:
        settings = LaunchSettings.read(os.environ)
        folder = DataFolder(settings.data_dir)
        with folder.held():
            asyncio.run(reset(settings, folder))
    except (TopologyError, AlreadyRunning, DataFolderUnusable) as refused:
        print(refused, file=sys.stderr)
        return 2
    except (ArtStoreError, OSError, asyncpg.PostgresError) as failed:
        print(f"not all of it was emptied: {failed}", file=sys.stderr)
        return 1
    print(f"emptied {settings.data_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
