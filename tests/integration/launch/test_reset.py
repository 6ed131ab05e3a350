"""`make reset` empties what is ArtStore's, everywhere, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from launch import reset, topology
from launch.data_folder import DataFolder
from launch.topology import LaunchSettings
from mesh.postgres.urls import with_database
from tests.support.services import PostgresProcess, S3Account, S3Service


async def test_only_our_tables_and_databases_go(own_postgres: PostgresProcess) -> None:
    url = own_postgres.create_database()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "create table storage_elem_01_files (a int); create sequence storage_elem_03_fence_seq;"
        "create table storage_elem_02_alembic_version (a int); create table theirs (a int)"
    )
    await connection.execute("create database artstore_query")
    await connection.execute("create database theirs")
    await reset.empty_database(url, ["artstore_query", "artstore_admin"])
    names = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
    )
    assert [row["relname"] for row in names] == ["theirs"]
    databases = await connection.fetch("select datname from pg_database")
    found = {row["datname"] for row in databases}
    assert "theirs" in found
    assert not found & {"artstore_query", "artstore_admin"}
    await connection.close()
    await reset.empty_database(with_database(url, "not_there_yet"), [])


def test_databases_of_the_servers_are_those_the_servers_make() -> None:
    environment = {
        "ARTSTORE_DATABASE_URL": "postgresql://u@h/files",
        "ARTSTORE_QUERY_DATABASE": "q",
    }
    assert topology.server_databases(LaunchSettings.read(environment)) == ["q", "files_admin"]
    assert topology.server_databases(LaunchSettings.read({})) == [
        "artstore_query",
        "artstore_admin",
    ]


async def test_only_our_keys_go(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        await client.mset({f"artstore:{number}": "x" for number in range(2500)} | {"theirs": "x"})
        await reset.empty_redis(redis_url)
        assert await client.keys("*") == [b"theirs"]


@pytest.mark.parametrize("backend", ["s3", "rclone_s3"])
async def test_only_our_objects_go(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    account: S3Account = request.getfixturevalue(backend)
    server: S3Service = request.getfixturevalue(backend.removesuffix("_s3") + "_server")
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    client = server.client()
    for key in ("storage_element_01/element.json", "storage_element_03/2026/a b", "theirs/a"):
        client.put_object(Bucket=account.bucket, Key=key, Body=b"x")
    client.create_multipart_upload(Bucket=account.bucket, Key="storage_element_02/open")
    await reset.empty_bucket(account.endpoint_url, account.bucket)
    left = client.list_objects_v2(Bucket=account.bucket)
    assert [entry["Key"] for entry in left["Contents"]] == ["theirs/a"]
    assert client.list_multipart_uploads(Bucket=account.bucket).get("Uploads", []) == []
    await reset.empty_bucket(account.endpoint_url, "no-such-bucket")


def test_only_our_files_go(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    for name in ("storage_element_01", "postgres", "keys", "logs", "theirs"):
        (tmp_path / name).mkdir()
    for name in ("mesh.json", "credentials.json", ".mesh.json.12"):
        (tmp_path / name).touch()
    asyncio.run(reset.reset(LaunchSettings.read({"ARTSTORE_DATA_DIR": str(tmp_path)}), folder))
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_reset_is_refused_while_the_mesh_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARTSTORE_DATA_DIR", str(tmp_path))
    (tmp_path / "mesh.json").touch()
    with DataFolder(tmp_path).held():
        assert reset.main() == 2
    assert "a mesh runs in" in capsys.readouterr().err
    assert (tmp_path / "mesh.json").exists()
