"""Each variable of the README's table has an effect."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg
import grpc
import psutil
import pytest
import redis

from admin_server.settings import AdminSettings
from artstore.v1 import downloads_pb2, storage_pb2
from ingest_server.settings import IngestSettings
from query_server.settings import QuerySettings
from storage_server.settings import StorageSettings
from tests.support.mesh import REPOSITORY, MeshProcess
from tests.support.outside import Outside
from tests.support.services import PostgresProcess, S3Process, ValkeyProcess

StartMesh = Callable[..., MeshProcess]


async def test_database_redis_and_bucket_of_the_user_are_used(
    own_mesh: StartMesh, postgres: PostgresProcess, valkey: ValkeyProcess, s3_server: S3Process
) -> None:
    """ARTSTORE_DATABASE_URL, ARTSTORE_REDIS_URL, ARTSTORE_S3_*, AWS_*, with a bucket to be made."""
    url = postgres.create_database()
    valkey.flush()
    account = {**s3_server.create_bucket().environment(), "ARTSTORE_S3_BUCKET": "made-by-artstore"}
    mesh = own_mesh(ARTSTORE_DATABASE_URL=url, ARTSTORE_REDIS_URL=valkey.url, **account)
    with Outside(mesh.file) as outside:
        file = outside.upload(b"elsewhere", "elsewhere.txt")
    assert {"postgres", "valkey"} & set(mesh.file.processes) == set()
    connection = await asyncpg.connect(url)
    count = await connection.fetchval("select count(*) from storage_elem_01_files")
    await connection.close()
    assert count == 1
    key = f"storage_element_01/{file.storage_path}/{file.storage_filename}"
    found = s3_server.client().get_object(Bucket="made-by-artstore", Key=key)
    assert found["Body"].read() == b"elsewhere"
    with redis.from_url(valkey.url) as client:
        assert client.keys("artstore:*") != []
    mesh.stop()
    postgres.drop_database(url)


def test_capacity_token_life_and_s3_connections(own_mesh: StartMesh, s3_server: S3Process) -> None:
    """ARTSTORE_SE_01_CAPACITY_BYTES, ARTSTORE_TOKEN_SECONDS, ARTSTORE_S3_MAX_CONNECTIONS."""
    mesh = own_mesh(
        ARTSTORE_SE_01_CAPACITY_BYTES="1048576",
        ARTSTORE_TOKEN_SECONDS="77",
        ARTSTORE_S3_MAX_CONNECTIONS="4",
        **s3_server.create_bucket().environment(),
    )
    with Outside(mesh.file) as outside:
        element = outside.storage("se-01").GetElement(
            storage_pb2.GetElementRequest(), **outside.auth
        )
        assert element.element.capacity_bytes == 1048576
        claims = _claims(outside.token)
        assert claims["exp"] - claims["iat"] == 77
        file = outside.upload(b"x" * 2**20, "does not fit on se-01")
        assert file.storage_element_id == "se-02"
        _download_beside_each_other(outside, file.file_id, 12)
        s3_port = urlsplit(s3_server.endpoint_url).port
        connections = psutil.Process(mesh.pid_of("se-02")).net_connections()
        to_s3 = [link for link in connections if link.raddr and link.raddr.port == s3_port]
        assert 1 <= len(to_s3) <= 4


def _claims(token: str) -> dict[str, int]:
    part = token.split(".")[1]
    claims: dict[str, int] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def _download_beside_each_other(outside: Outside, file_id: str, times: int) -> None:
    request = downloads_pb2.DownloadRequest(file_id=file_id)
    streams = [outside.storage("se-02").Download(request, **outside.auth) for _ in range(times)]
    for stream in streams:
        assert sum(len(part.chunk.data) for part in stream) == 2**20


def test_two_meshes_run_side_by_side(own_mesh: StartMesh, mesh_local: MeshProcess) -> None:
    """ARTSTORE_PORT_OFFSET and ARTSTORE_DATA_DIR: neither mesh sees the other's files."""
    other = own_mesh()
    assert other.port_offset != mesh_local.port_offset
    with Outside(other.file) as there, Outside(mesh_local.file) as here:
        file = there.upload(b"only there", "there.txt")
        assert (other.data_dir / "storage_element_01" / file.storage_path).is_dir()
        with pytest.raises(grpc.RpcError) as missing:
            here.get("se-01", file.file_id)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND


def test_table_is_what_these_tests_cover() -> None:
    """ARTSTORE_RESTART has its test in `tests/integration/launch/test_launch.py`,
    ARTSTORE_AUDIT_WAIT_DAYS in `tests/integration/feed/test_audit.py`, ARTSTORE_REFUSAL_SECONDS
    in `tests/integration/admin/test_audit.py`, ARTSTORE_WRITE_PROBE_SECONDS in
    `tests/integration/storage/test_read_only_store.py`, ARTSTORE_TRANSFERS,
    ARTSTORE_TRANSFERS_PER_ELEMENT, ARTSTORE_TRANSFERS_PER_ACCOUNT,
    ARTSTORE_TRANSFER_LEASE_SECONDS, ARTSTORE_DECISIONS_LIVE_SECONDS, ARTSTORE_SWEEP_SECONDS,
    ARTSTORE_TICKET_SECONDS, ARTSTORE_MOVED_KEEP_HOURS, ARTSTORE_INCOMING_KEEP_DAYS and
    ARTSTORE_FIRST_HOME_STEP_SECONDS in `tests/integration/admin/test_transfers_lost.py`,
    ARTSTORE_TRANSFER_RETRY_SECONDS in `tests/integration/admin/test_transfers.py`,
    ARTSTORE_TRANSFER_KEEP_DAYS in `tests/integration/admin/test_transfers_lost.py`,
    ARTSTORE_TRASH_DAYS in `tests/integration/storage/test_changing_files.py`,
    ARTSTORE_UPLOAD_IDLE_DAYS in `tests/integration/storage/test_resumable_uploads.py`,
    ARTSTORE_KEY_ROTATION_DAYS in `tests/integration/admin/test_keys.py`,
    ARTSTORE_CACHE_TTL_HOURS in `tests/integration/storage/test_modes.py`, and
    ARTSTORE_STORE_PATIENT_SECONDS in
    `tests/faults/test_dependencies.py`, ARTSTORE_TLS_*_FILE and ARTSTORE_METRICS_HOST in
    `tests/integration/mesh/test_tls.py`, ARTSTORE_TLS in `tests/acceptance/test_tls.py`,
    ARTSTORE_TLS_NAMES in `tests/unit/launch/test_certificates.py`, ARTSTORE_LIMITS in
    `tests/integration/mesh/test_limits.py`; those of collections have theirs in
    `tests/integration/feed/test_collection.py`.
    """
    table = re.findall(r"^\| (`[^|]+) \|", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    names = {name for cell in table for name in re.findall(r"`([A-Z0-9_]+)`", cell)}
    assert names == {
        "ARTSTORE_DATA_DIR", "ARTSTORE_PORT_OFFSET", "ARTSTORE_RESTART", "ARTSTORE_DATABASE_URL",
        "ARTSTORE_REDIS_URL", "ARTSTORE_S3_ENDPOINT_URL", "ARTSTORE_S3_BUCKET",
        "ARTSTORE_S3_MAX_CONNECTIONS", "ARTSTORE_STORE_PATIENT_SECONDS", "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "ARTSTORE_SE_01_CAPACITY_BYTES",
        "ARTSTORE_TOKEN_SECONDS", "ARTSTORE_WRITE_PROBE_SECONDS", "ARTSTORE_AUDIT_WAIT_DAYS",
        "ARTSTORE_REFUSAL_SECONDS", "ARTSTORE_TRANSFERS", "ARTSTORE_TRANSFER_RETRY_SECONDS",
        "ARTSTORE_FIRST_HOME_STEP_SECONDS", "ARTSTORE_TRANSFERS_PER_ELEMENT",
        "ARTSTORE_TRANSFERS_PER_ACCOUNT", "ARTSTORE_TRANSFER_LEASE_SECONDS",
        "ARTSTORE_TICKET_SECONDS", "ARTSTORE_DECISIONS_LIVE_SECONDS", "ARTSTORE_SWEEP_SECONDS",
        "ARTSTORE_MOVED_KEEP_HOURS", "ARTSTORE_INCOMING_KEEP_DAYS",
        "ARTSTORE_COLLECTION_SECONDS",
        "ARTSTORE_COLLECTION_FILES_PER_SECOND", "ARTSTORE_EXPIRED_KEEP_HOURS",
        "ARTSTORE_TOMBSTONE_DAYS", "ARTSTORE_ORPHAN_DAYS", "ARTSTORE_QUARANTINE_DAYS",
        "ARTSTORE_TRANSFER_KEEP_DAYS", "ARTSTORE_TRASH_DAYS", "ARTSTORE_UPLOAD_IDLE_DAYS",
        "ARTSTORE_KEY_ROTATION_DAYS", "ARTSTORE_CACHE_TTL_HOURS", "ARTSTORE_TLS_CERT_FILE",
        "ARTSTORE_TLS_KEY_FILE", "ARTSTORE_TLS_CA_FILE", "ARTSTORE_TLS_CLIENT_CA_FILE",
        "ARTSTORE_METRICS_HOST", "ARTSTORE_TLS", "ARTSTORE_TLS_NAMES", "ARTSTORE_LIMITS",
    }  # fmt: skip


def test_how_long_anything_of_a_file_is_kept_is_in_the_table_and_as_it_says() -> None:
    page = (REPOSITORY / "README.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", page, re.MULTILINE))
    for settings in (AdminSettings, StorageSettings, IngestSettings, QuerySettings):
        for name, field in settings.model_fields.items():
            if name.endswith(("_days", "_hours")) or name.startswith("transfer"):
                told = table[f"ARTSTORE_{name.upper()}"]
                assert field.default is None or float(told) == field.default, name
