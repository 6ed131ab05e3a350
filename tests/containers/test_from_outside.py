"""The mesh of compose.yaml, each server at an address of its own, as its clients have it.

Each test runs from this host, by published ports and by the containers' own addresses, or from a
container on their network.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import boto3
import grpc
import pytest

from artstore.v1 import downloads_pb2, query_pb2, storage_pb2_grpc, types_pb2, uploads_pb2
from artstore_client.sync import SyncClient
from launch import topology
from tests.containers.composed import ComposedMesh, run
from tests.containers.conftest import readme_blocks
from tests.support.outside import CHUNK_BYTES, Outside
from tests.support.waiting import wait_until

Artstore = Callable[..., CompletedProcess[bytes]]
SEARCH_SECONDS = 20.0


@pytest.fixture(params=["host", "container"])
def artstore(request: pytest.FixtureRequest, composed: ComposedMesh) -> Artstore:
    """The command, from this host and from a container on the network."""
    return composed.on_host if request.param == "host" else composed.in_container


def test_the_three_lines_of_the_readme_bring_it_up_and_it_tests_itself(
    composed: ComposedMesh,
) -> None:
    assert len(readme_blocks()[0].splitlines()) == 3
    assert "12 of 12 passed" in composed.first_lines


def test_the_lines_of_the_readme_for_this_host_work(composed: ComposedMesh) -> None:
    lines = readme_blocks()[1].replace("127.0.0.1", composed.address.published)
    # As on a machine that reaches the web, and nothing else, by a proxy.
    proxy = {"http_proxy": "http://127.0.0.1:9"}
    command = ["bash", "-euc", lines]
    printed = run(command, cwd=composed.folder, environment=proxy).stdout.decode()
    assert "12 of 12 passed" in printed
    assert "artstore.v1.StorageService" in printed


def test_elements_are_told_by_addresses_of_their_own(
    composed: ComposedMesh, artstore: Artstore
) -> None:
    told = json.loads(artstore("elements", "--json").stdout)
    found = {one["storage_element_id"]: one["endpoint"] for one in told}
    assert found == composed.own_elements


def test_a_file_goes_in_and_comes_back(artstore: Artstore) -> None:
    word = f"w{secrets.token_hex(4)}"
    content = os.urandom(3_000_000)
    put = artstore("put", "-", "--name", f"{word}.bin", "--tag", word, stdin=content)
    file_id = put.stdout.decode().split()[0]
    assert artstore("get", file_id, "-o", "-").stdout == content
    assert file_id in artstore("search", word).stdout.decode()
    artstore("rm", file_id)
    assert artstore("get", file_id, "-o", "-", check=False).returncode == 3
    artstore("restore", file_id)
    assert artstore("get", file_id, "-o", "-").stdout == content


def test_permanent_files_go_to_the_element_that_keeps_them(artstore: Artstore) -> None:
    put = artstore("put", "-", "--name", "kept.txt", "--permanent", stdin=b"kept")
    told = artstore("stat", put.stdout.decode().split()[0]).stdout.decode()
    assert "se-03" in told


def test_a_mesh_tests_itself_and_its_caches(artstore: Artstore) -> None:
    assert b"12 of 12 passed" in artstore("selftest").stdout
    for element in ("se-01", "se-02", "se-03"):
        artstore("cache", "rebuild", element)
        assert b"consistent" in artstore("cache", "check", element).stdout


@pytest.mark.parametrize("element_id", ["se-01", "se-02"])
def test_stubs_reach_every_server_by_its_published_port(
    composed: ComposedMesh, element_id: str
) -> None:
    content = os.urandom(1_000_000)
    word = f"w{secrets.token_hex(4)}"
    with Outside(composed.file) as outside:
        made = outside.upload_to(element_id, content, f"{word}.bin")
        assert outside.download(element_id, made.file_id)[1] == content
        asked = downloads_pb2.DownloadRequest(file_id=made.file_id)
        wait_until(lambda: _finds(outside, word, made.file_id), SEARCH_SECONDS, "it is found")
        parts = list(outside.query.DownloadFile(asked, **outside.auth))
        assert b"".join(part.chunk.data for part in parts[1:]) == content
        outside.delete(element_id, made.file_id)
        with pytest.raises(grpc.RpcError) as gone:
            outside.get(element_id, made.file_id)
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND
        outside.undelete(element_id, made.file_id)
        assert outside.rebuild(element_id).statistics.cache_entries_after >= 1
        assert outside.check(element_id).is_consistent


def _finds(outside: Outside, word: str, file_id: str) -> bool:
    answer = outside.query.SearchFiles(query_pb2.SearchFilesRequest(query=word), **outside.auth)
    return file_id in {found.file.file_id for found in answer.results}


def test_a_resumable_upload_is_written_where_ingest_says(composed: ComposedMesh) -> None:
    content = os.urandom(20_000_000)
    header = uploads_pb2.UploadHeader(original_filename="parts.bin", size_bytes=len(content))
    with Outside(composed.file) as outside:
        asked = uploads_pb2.StartUploadRequest(header=header)
        started = outside.ingest.StartUpload(asked, **outside.auth)
        assert started.endpoint == composed.own_elements[started.storage_element_id]
        element = storage_pb2_grpc.StorageServiceStub(outside.channel(started.endpoint))
        auth = outside.auth
        auth["metadata"] = [
            *auth["metadata"], ("artstore-upload-token", started.upload_token),
        ]  # fmt: skip
        # The connection breaks off: what S3 has whole parts of is there, the rest is sent again.
        broken = _parts(started.upload_id, content[:12_000_000], 0)
        kept = element.WriteUpload(broken, **auth).committed_size_bytes
        assert 0 < kept <= 12_000_000
        rest = _parts(started.upload_id, content, kept)
        assert element.WriteUpload(rest, **auth).committed_size_bytes <= len(content)
        committed = element.CommitUpload(
            uploads_pb2.CommitUploadRequest(
                upload_id=started.upload_id,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
            ),
            **auth,
        )
        file_id = committed.file.file_id
        assert outside.download(started.storage_element_id, file_id)[1] == content


def _parts(upload_id: str, content: bytes, begin: int) -> Iterator[uploads_pb2.WriteUploadRequest]:
    for offset in range(begin, len(content), CHUNK_BYTES):
        yield uploads_pb2.WriteUploadRequest(
            upload_id=upload_id,
            chunk=types_pb2.Chunk(offset=offset, data=content[offset : offset + CHUNK_BYTES]),
        )


LIBRARY = """
import hashlib, io, os
from artstore_client.sync import SyncClient
with SyncClient.connect() as client:
    content = os.urandom(20_000_000)
    made = client.upload(io.BytesIO(content), name="library.bin", tags=["library"])
    target = io.BytesIO()
    client.download(made.file.file_id, target)
    assert target.getvalue() == content
    client.delete(made.file.file_id)
    client.undelete(made.file.file_id)
    assert client.stat(made.file.file_id).sha256 == hashlib.sha256(content).hexdigest()
    print("held", made.file.storage_element_id)
"""


def test_the_library_works_from_a_container(composed: ComposedMesh) -> None:
    done = composed.compose(
        "run", "--rm", "-T", "--entrypoint", "python3", "artstore", "-c", LIBRARY
    )
    assert done.stdout.decode().split() == ["held", "se-01"]


def test_the_library_works_from_this_host(composed: ComposedMesh, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    source, target = tmp_path / "library.bin", tmp_path / "back.bin"
    source.write_bytes(content)
    told = composed.file
    with SyncClient.connect(
        admin=told.endpoints["admin"],
        ingest=told.endpoints["ingest"],
        query=told.endpoints["query"],
        client_id=told.client_id,
        client_secret=told.client_secret,
    ) as client:
        made = client.upload(source)
        client.download(made.file.file_id, target)
    assert target.read_bytes() == content


def test_a_server_has_a_secret_that_opens_no_other_account(composed: ComposedMesh) -> None:
    given = {
        plan.account: composed.environment(plan.name)["ARTSTORE_CLIENT_SECRET"]
        for plan in topology.SERVERS
    }
    assert len(set(given.values())) == len(given)
    others = [*list(given.values())[1:], next(iter(given.values()))]
    for (account, own), other in zip(given.items(), others, strict=True):
        with Outside(composed.file, account, own) as outside:
            assert outside.token
        with Outside(composed.file, account, other) as outside:
            with pytest.raises(grpc.RpcError) as refused:
                assert outside.token
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_files_lie_in_the_bucket(composed: ComposedMesh) -> None:
    with Outside(composed.file) as outside:
        made = outside.upload(b"in the bucket", "bucket.txt")
    bucket = boto3.client(
        "s3",
        endpoint_url=f"http://{composed.given_address('s3')}:8333",
        region_name="us-east-1",
        aws_access_key_id="artstore",
        aws_secret_access_key=composed.settings["ARTSTORE_S3_SECRET"],
    )
    folder = f"storage_element_01/{made.storage_path.rpartition('/')[0]}"
    found = bucket.list_objects_v2(Bucket="artstore", Prefix=folder)["Contents"]
    mine = sorted(one["Key"] for one in found if made.file_id in one["Key"])
    assert len(mine) == 2
    assert mine[1] == f"{mine[0]}.attr.json"
