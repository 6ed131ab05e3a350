"""Temporary files become permanent elsewhere, and whoever reads or changes them notices nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import string
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import google_crc32c
import grpc
import pytest

from artstore.v1 import cache_pb2, downloads_pb2, lifecycle_pb2, query_pb2, types_pb2
from artstore_client import Client
from storage_server.domain.sidecar import FileState, decode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.support.caller import sha256_of
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info
from tests.support.services import S3Account, S3Process
from tests.support.waiting import until

StartMesh = Callable[..., MeshProcess]
# A source that was moved away goes after so long, while its file is still read.
GRACE_SECONDS = 2.0
COMMAND = (sys.executable, "-c", "from artstore_client.cli import main; main()")
COMPLETED = lifecycle_pb2.TRANSFER_STATE_COMPLETED
FIELDS = (
    "original_filename",
    "content_type",
    "tags",
    "attributes",
    "version",
    "namespace",
    "sha256",
    "crc32c",
    "size_bytes",
    "created_at",
    "created_by",
    "request_id",
)


def soon(grace_seconds: float) -> dict[str, str]:
    """A first start has tables that are new, as those of a mesh that has lost them."""
    return {
        "ARTSTORE_FIRST_HOME_STEP_SECONDS": "3",
        "ARTSTORE_DECISIONS_LIVE_SECONDS": "3",
        "ARTSTORE_MOVED_KEEP_HOURS": str(grace_seconds / 3600),
        "ARTSTORE_COLLECTION_SECONDS": "1",
    }


class Store:
    """What an element's store has, looked at past the element."""

    def __init__(self, folder: Path, s3: S3Process, account: S3Account | None) -> None:
        self._folder = folder
        self._bucket = account.bucket if account is not None else ""
        self._client = s3.client()

    def list(self, element_id: str) -> list[str]:
        """Names of all that lies there, with their folders."""
        top = f"storage_element_{element_id.removeprefix('se-')}/"
        if not self._bucket:
            found = (self._folder / top).rglob("*")
            return [str(path.relative_to(self._folder)) for path in found]
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=top
        )
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        if not self._bucket:
            return (self._folder / name).read_bytes()
        body = self._client.get_object(Bucket=self._bucket, Key=name)["Body"]
        content: bytes = body.read()
        return content


@asynccontextmanager
async def again_and_again(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[Counter[str]]:
    """Do each of these in a loop meanwhile; the first failure is raised at the end."""
    done: Counter[str] = Counter()
    over = asyncio.Event()

    async def loop(work: Callable[[], Awaitable[None]]) -> None:
        while not over.is_set():
            await work()
            done[work.__name__] += 1

    tasks = [asyncio.create_task(loop(work)) for work in works]
    yield done
    over.set()
    await asyncio.gather(*tasks)


class Watched:
    """Files that are read, searched and changed all the time, by whatever way there is."""

    def __init__(self, client: Client, outside: Outside, files: list[types_pb2.File]) -> None:
        self.client, self.outside = client, outside
        self.files = {file.file_id: file for file in files}
        self.contents: dict[str, bytes] = {}
        self.written: dict[str, str] = {}
        self._turn = 0

    def next_id(self) -> str:
        self._turn += 1
        return list(self.files)[self._turn % len(self.files)]

    def is_whole(self, file: types_pb2.File) -> None:
        """Whoever described it, it is the file that was stored."""
        before = self.files[file.file_id]
        for name in FIELDS:
            assert getattr(file, name) == getattr(before, name), name

    async def read_by_client(self) -> None:
        file_id = self.next_id()
        data = b"".join([piece async for piece in self.client.download(file_id)])
        assert data == self.contents[file_id]

    async def describe_by_client(self) -> None:
        self.is_whole(await self.client.stat(self.next_id()))

    async def read_by_query(self) -> None:
        file_id = self.next_id()
        stub = self.client._connection.query
        metadata = await self.client._connection.calls.metadata()
        request = query_pb2.QueryServiceGetFileRequest(file_id=file_id)
        self.is_whole((await stub.GetFile(request, metadata=metadata, timeout=30)).file)
        call = stub.DownloadFile(
            downloads_pb2.DownloadRequest(file_id=file_id), metadata=metadata, timeout=30
        )
        data = b"".join([part.chunk.data async for part in call])
        assert data == self.contents[file_id]

    async def read_at_its_element(self) -> None:
        """Where the registry says, which is late at most; where it went is followed."""
        file_id = self.next_id()
        answer = await self.client._connection.registered(file_id)
        assert answer.replicas
        await asyncio.to_thread(self._read_at, answer.replicas[0].storage_element_id, file_id)

    def _read_at(self, element_id: str, file_id: str) -> None:
        try:
            self.is_whole(self.outside.get(element_id, file_id))
            file, data = self.outside.download(element_id, file_id)
        except grpc.RpcError as error:
            leads_to = error_info(error).metadata.get("moved_to", "")
            assert leads_to not in ("", element_id), error
            self._read_at(leads_to, file_id)
        else:
            self.is_whole(file)
            assert data == self.contents[file_id]

    async def search(self) -> None:
        page = await self.client.search("finalized", page_size=1000)
        found = Counter(result.file.file_id for result in page.results)
        assert found == Counter(self.files.keys())
        assert page.total_count == len(self.files)
        for facet in page.facets:
            if facet.field == query_pb2.FACET_FIELD_STORAGE_ELEMENT_ID:
                assert sum(value.count for value in facet.values) == len(self.files)

    async def update(self) -> None:
        """A change is in the next search that has its change token, and in no second line."""
        file_id = self.next_id()
        text = "".join(random.choices(string.ascii_lowercase, k=12))
        file = await self.client.update(file_id, description=text)
        assert file.description == text
        self.written[file_id] = text
        page = await self.client.search(text, min_change_tokens=self.client.change_tokens)
        assert [(one.file.file_id, one.file.description) for one in page.results] == [
            (file_id, text)
        ]


async def watched(client: Client, outside: Outside, count: int) -> Watched:
    contents = [os.urandom(1000 + n) for n in range(count)]
    stored = [
        await client.upload(
            content,
            name=f"finalized {n}.bin",
            tags=["a", "b"],
            attributes={"n": str(n)},
            version="7",
            description="first",
            request_id=f"finalized-{n}",
        )
        for n, content in enumerate(contents)
    ]
    one = Watched(client, outside, [each.file for each in stored])
    one.contents = dict(zip(one.files, contents, strict=True))
    tokens = [each.change_token for each in stored][-10:]
    await client.search("finalized", min_change_tokens=tokens)

    async def registered() -> bool:
        answers = [await client._connection.registered(file_id) for file_id in one.files]
        return all(answer.replicas for answer in answers)

    await until(registered, 30.0)
    return one


async def finalized_while_in_use(mesh: MeshProcess, store: Store, count: int) -> None:
    with Outside(mesh.file) as outside:
        async with Client.connect(mesh_file=Path(mesh.file.data_dir, "mesh.json")) as client:
            seen = await watched(client, outside, count)
            large = os.urandom(5 * 2**20)
            under_way = (await client.upload(large, name="large.bin")).file_id
            pieces = client.download(under_way)
            read = [await anext(pieces)]
            async with again_and_again(
                seen.read_by_client,
                seen.describe_by_client,
                seen.read_by_query,
                seen.read_at_its_element,
                seen.search,
                seen.update,
            ) as done:
                for file_id in seen.files:
                    transfer = await client.finalize(file_id, wait=True)
                    assert transfer.state == COMPLETED, transfer
                await client.finalize(under_way, wait=True)
                # A download that was under way when its file moved goes on.
                read += [piece async for piece in pieces]
                assert b"".join(read) == large
                await sources_are_gone(store, [*seen.files, under_way])
            assert min(done.values()) >= max(5, count // 10), done
            report = await asyncio.to_thread(outside.check, "se-03", cache_pb2.CHECK_LEVEL_DEEP)
            assert (report.is_consistent, report.total_attr_files) == (True, count + 1)
            for number, file_id in enumerate(seen.files):
                await asyncio.to_thread(is_at_its_target, outside, seen, file_id)
                if number < 3:
                    await repeated(client, seen, number, file_id)
            # Each of the client's own changes is found, also those made where a file was.
            page = await client.search(
                "finalized", page_size=1000, min_change_tokens=client.change_tokens
            )
            told = {result.file.file_id: result.file for result in page.results}
            assert {file.storage_element_id for file in told.values()} == {"se-03"}
            for file_id, text in seen.written.items():
                assert told[file_id].description == text


async def sources_are_gone(store: Store, file_ids: list[str]) -> None:
    """All that is left at the source is a stub that names the home: no byte of content."""
    names: list[str] = []

    async def no_bytes_are_left() -> bool:
        found = await asyncio.to_thread(store.list, "se-01")
        names[:] = [name for name in found if any(file_id in name for file_id in file_ids)]
        return all(name.endswith(SIDECAR_SUFFIX) for name in names)

    await until(no_bytes_are_left, 120.0)
    stubs = [decode(await asyncio.to_thread(store.read, name)) for name in names]
    assert sorted(stub.file_id for stub in stubs) == sorted(file_ids)
    for stub in stubs:
        assert (stub.state, stub.moved_to) == (FileState.GONE, "se-03")
        assert (stub.description, stub.tags, stub.attributes) == ("", (), {})


def is_at_its_target(outside: Outside, seen: Watched, file_id: str) -> None:
    """Asked of the target itself: its bytes, its checksums, all that was said of it."""
    content = seen.contents[file_id]
    home, data = outside.download("se-03", file_id)
    assert data == content
    # Both are answered from the same sidecar, the one at the end of the transfer's switch.
    assert outside.get("se-03", file_id).sha256 == sha256_of(content)
    assert home.crc32c == google_crc32c.value(content)
    assert home.state == types_pb2.FILE_STATE_ACTIVE
    assert home.retention_policy == types_pb2.RETENTION_POLICY_PERMANENT
    assert not home.HasField("expires_at")
    assert (home.HasField("finalized_at"), home.finalized_to) == (True, "se-03")
    seen.is_whole(home)
    assert home.description == seen.written.get(file_id, "first")
    with pytest.raises(grpc.RpcError) as nothing:
        outside.get("se-01", file_id)
    assert nothing.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(nothing.value).metadata["moved_to"] == "se-03"


async def repeated(client: Client, seen: Watched, number: int, file_id: str) -> None:
    """What began a file or its finalization, asked once more, answers that."""
    again = await client.upload(
        seen.contents[file_id],
        name=f"finalized {number}.bin",
        tags=["a", "b"],
        attributes={"n": str(number)},
        version="7",
        description="first",
        request_id=f"finalized-{number}",
    )
    assert again.file_id == file_id
    assert again.file.storage_element_id == "se-03"
    first = await client.transfers.finalization(file_id)
    assert (await client.finalize(file_id)).transfer_id == first.transfer_id


def by_the_command(mesh: MeshProcess, file_id: str) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=mesh.environment | {"ARTSTORE_MESH": str(mesh.mesh_file)},
            cwd=mesh.cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def artstore(*arguments: str, code: int = 0) -> str:
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        return done.stdout

    transfer = json.loads(artstore("finalize", file_id, "--wait", "--json"))
    assert (transfer["kind"], transfer["state"]) == ("finalize", "completed")
    assert transfer["target_storage_element_id"] == "se-03"
    # A permanent file goes to elements in mode rw, of which there is one.
    refused = run("move", file_id)
    assert refused.returncode == 1
    assert "NO_ELEMENT" in refused.stderr
    assert file_id in artstore("transfer", "list", "--state", "completed", "--file", file_id)
    shown = artstore("transfer", "show", transfer["transfer_id"])
    assert shown.startswith(f"{transfer['transfer_id']}  completed  se-01 -> se-03  {file_id}")
    assert "COMPLETED" in run("transfer", "cancel", transfer["transfer_id"]).stderr
    told = artstore("explain", file_id)
    assert "se-01  had it, now on se-03" in told
    assert "se-03  has it" in told


async def test_files_are_finalized_while_they_are_read_searched_and_changed(
    own_mesh: StartMesh, s3_server: S3Process
) -> None:
    mesh = own_mesh(**soon(GRACE_SECONDS))
    await finalized_while_in_use(mesh, Store(mesh.data_dir, s3_server, None), 6)
    with Outside(mesh.file) as outside:
        stored = outside.upload(b"by the command", "command.bin")
    await asyncio.to_thread(by_the_command, mesh, stored.file_id)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("where", ["local", "s3"])
async def test_200_files_are_finalized_while_they_are_read_searched_and_changed(
    own_mesh: StartMesh, s3_server: S3Process, where: str
) -> None:
    account = s3_server.create_bucket() if where == "s3" else None
    mesh = own_mesh(**soon(6 * GRACE_SECONDS), **(account.environment() if account else {}))
    await finalized_while_in_use(mesh, Store(mesh.data_dir, s3_server, account), 200)
