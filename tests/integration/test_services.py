"""The servers that the other tests stand on do what those tests expect of them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
import redis.asyncio

from tests.support.services import PostgresProcess, S3Account, S3Process, S3Service, ValkeyProcess


async def test_database_is_fresh_and_its_account_may_make_others(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert (
            await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'")
            == 0
        )
        await connection.execute("create extension pg_trgm")
        assert await connection.fetchval("select similarity('договор', 'догавор')") > 0.3
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'create database "{name}_query"')
    finally:
        await connection.close()


async def test_valkey_answers_and_is_empty(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("a", "b")


async def test_valkey_is_flushed_between_tests(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.get("a") is None


@pytest.mark.parametrize("backend", ["s3", "rclone_s3"])
def test_bucket_takes_an_object(backend: str, request: pytest.FixtureRequest) -> None:
    account: S3Account = request.getfixturevalue(backend)
    server: S3Service = request.getfixturevalue(backend.removesuffix("_s3") + "_server")
    client = server.client()
    client.put_object(Bucket=account.bucket, Key="a/b", Body=b"content")
    assert client.get_object(Bucket=account.bucket, Key="a/b")["Body"].read() == b"content"


async def test_frozen_postgres_accepts_and_never_answers(own_postgres: PostgresProcess) -> None:
    connection = await asyncpg.connect(own_postgres.url)
    own_postgres.freeze()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.fetchval("select 1"), 0.3)
    own_postgres.thaw()
    connection.terminate()
    again = await asyncpg.connect(own_postgres.url)
    assert await again.fetchval("select 1") == 1
    await again.close()


async def test_stopped_postgres_comes_back_with_its_data(own_postgres: PostgresProcess) -> None:
    url = own_postgres.create_database()
    own_postgres.stop()
    with pytest.raises(OSError):
        await asyncpg.connect(url)
    own_postgres.start()
    connection = await asyncpg.connect(url)
    await connection.close()


def test_killed_postgres_comes_back(own_postgres: PostgresProcess) -> None:
    own_postgres.kill()
    own_postgres.start()
    assert own_postgres.answers()


async def test_frozen_valkey_never_answers(own_valkey: ValkeyProcess) -> None:
    own_valkey.freeze()
    assert not own_valkey.answers()
    own_valkey.thaw()
    assert own_valkey.answers()
    own_valkey.stop()
    assert not own_valkey.answers()
    own_valkey.start()


def test_frozen_s3_never_answers(own_s3: S3Process) -> None:
    own_s3.freeze()
    assert not own_s3.answers()
    own_s3.thaw()
    assert own_s3.answers()


def test_killed_s3_comes_back_with_its_data(own_s3: S3Process) -> None:
    account = own_s3.create_bucket()
    own_s3.client().put_object(Bucket=account.bucket, Key="a/b", Body=b"content")
    own_s3.kill()
    assert not own_s3.answers()
    own_s3.start()
    found = own_s3.client().get_object(Bucket=account.bucket, Key="a/b")
    assert found["Body"].read() == b"content"


def test_secret_of_s3_is_in_no_command_line_and_for_its_account_alone(
    s3_server: S3Process,
) -> None:
    assert s3_server.secret_key not in " ".join(s3_server.command())
    (holder,) = [
        path
        for path in s3_server.folder.glob("*")
        if path.is_file() and s3_server.secret_key.encode() in path.read_bytes()
    ]
    assert holder.stat().st_mode & 0o777 == 0o600
