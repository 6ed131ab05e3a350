"""From the moment at which it expires a file is nowhere, and nothing has to run for that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from artstore.v1 import (
    downloads_pb2,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    query_pb2,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2,
    types_pb2,
)
from mesh.calls.status import from_rpc_error
from storage_server.domain.sidecar import RetentionPolicy, Sidecar, encode
from storage_server.store.port import SIDECAR_SUFFIX
from tests.integration.feed.by_hand import repair
from tests.integration.feed.small_mesh import SmallMesh
from tests.support.cache_rig import a_sidecar, path_of
from tests.support.storage_rig import Node

DAY = timedelta(days=1)
ALL = ("element", "registry", "found", "browsed")
WORD = "vanishing"


def now() -> datetime:
    return datetime.now(UTC)


def kept_until(at: datetime | None, **fields: Any) -> Sidecar:
    """A file whose retention ends then; None: it is permanent."""
    if at is None:
        policy, days = RetentionPolicy.PERMANENT, None
    else:
        policy, days = RetentionPolicy.TEMPORARY, 30
    return a_sidecar(
        original_filename=f"{WORD}.txt",
        retention_policy=policy,
        retention_days=days,
        expires_at=at,
        tags=(WORD,),
        **fields,
    )


async def lay_down(mesh: SmallMesh, *sidecars: Sidecar, element: str = "se-01") -> None:
    """Put them into the store, and wait until everybody knows of them."""
    node = mesh.elements[element]
    for sidecar in sidecars:
        path = node.rig.root / path_of(sidecar)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.removesuffix(SIDECAR_SUFFIX)).write_bytes(b"hello")
        path.write_bytes(encode(sidecar))
    await repair(node)
    await mesh.agree()


class Everywhere:
    """What a user is told of the files of one namespace, by who tells it."""

    def __init__(self, mesh: SmallMesh, namespace: str) -> None:
        self.mesh = mesh
        self.namespace = namespace
        self.registered = 0
        self.registry: Any = registry_pb2_grpc.FileRegistryServiceStub(mesh.admin.channel)

    async def listed(self) -> Mapping[str, set[str]]:
        element, registry, found, browsed = await asyncio.gather(
            self._element(), self._registry(), self._found(WORD), self._found("")
        )
        return dict(zip(ALL, (element, registry, found, browsed), strict=True))

    async def _element(self) -> set[str]:
        page = await self.mesh.elements["se-01"].call(
            "ListFiles",
            storage_pb2.StorageServiceListFilesRequest(namespace=self.namespace, page_size=1000),
        )
        assert page.total_size == len(page.files)
        return {file.file_id for file in page.files}

    async def _registry(self) -> set[str]:
        page = await self.registry.ListFiles(
            registry_pb2.FileRegistryServiceListFilesRequest(
                namespace=self.namespace, page_size=1000
            ),
            metadata=self.mesh.bearer(),
            timeout=10,
        )
        # Counted after they were listed.
        assert page.total_size <= len(page.files)
        self.registered = page.total_size
        return {file.file_id for file in page.files}

    async def _found(self, text: str) -> set[str]:
        page = await self.mesh.search(
            text,
            page_size=1000,
            filters=query_pb2.SearchFilters(namespaces=[self.namespace]),
        )
        tagged = sum(
            value.count
            for facet in page.facets
            if facet.field == query_pb2.FACET_FIELD_TAG
            for value in facet.values
        )
        assert page.total_count == len(page.results) == tagged
        return {result.file.file_id for result in page.results}

    async def described(self, file_id: str) -> Mapping[str, str]:
        """OK or the reason, by who is asked for it."""
        node, mesh = self.mesh.elements["se-01"], self.mesh
        metadata = mesh.bearer()

        async def bytes_of(call: Any) -> None:
            async for _ in call:
                pass

        asked = {
            "GetFile": node.call(
                "GetFile", storage_pb2.StorageServiceGetFileRequest(file_id=file_id)
            ),
            "Download": bytes_of(
                node.stub.Download(
                    downloads_pb2.DownloadRequest(file_id=file_id), metadata=metadata
                )
            ),
            "registry": self.registry.GetFile(
                registry_pb2.FileRegistryServiceGetFileRequest(file_id=file_id),
                metadata=metadata,
                timeout=10,
            ),
            "query": mesh.query.GetFile(
                query_pb2.QueryServiceGetFileRequest(file_id=file_id), metadata=metadata, timeout=10
            ),
            "DownloadFile": bytes_of(
                mesh.query.DownloadFile(
                    downloads_pb2.DownloadRequest(file_id=file_id), metadata=metadata, timeout=10
                )
            ),
        }
        return {name: await _ending(work) for name, work in asked.items()}


async def _ending(work: Any) -> str:
    try:
        await work
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return "OK"


async def test_at_any_time_exactly_what_has_not_expired_is_listed_counted_and_found(
    mesh: SmallMesh,
) -> None:
    dice = random.Random(7)
    begin = now() + timedelta(seconds=2.5)
    ends: dict[str, datetime | None] = {}
    sidecars = []
    for number in range(40):
        at = begin + timedelta(seconds=dice.uniform(-2.5, 1)) if number % 5 else None
        held = number % 7 == 0
        sidecar = kept_until(at, namespace="moments", legal_hold=held)
        ends[sidecar.file_id] = None if held else at
        sidecars.append(sidecar)
    await lay_down(mesh, *sidecars)
    everywhere = Everywhere(mesh, "moments")

    def alive(at: datetime) -> set[str]:
        return {file_id for file_id, ends_at in ends.items() if ends_at is None or ends_at > at}

    seen = set()
    while True:
        before = now()
        told = await everywhere.listed()
        after = now()
        for who, ids in told.items():
            assert alive(after) <= ids <= alive(before), who
        seen.add(len(told["found"]))
        if alive(after) == alive(datetime.max.replace(tzinfo=UTC)):
            break
    assert len(seen) > 2
    await mesh.agree()


async def test_of_an_expired_file_everybody_says_that_it_has_expired(mesh: SmallMesh) -> None:
    gone = kept_until(now() - DAY, namespace="told")
    held = kept_until(now() - DAY, namespace="told", legal_hold=True)
    await lay_down(mesh, gone, held)
    everywhere = Everywhere(mesh, "told")
    assert set((await everywhere.described(gone.file_id)).values()) == {"EXPIRED"}
    assert set((await everywhere.described(held.file_id)).values()) == {"OK"}
    reader = mesh.bearer(await mesh.admin.issue("reader"))
    hidden = mesh.query.GetFile(
        query_pb2.QueryServiceGetFileRequest(file_id=gone.file_id), metadata=reader, timeout=10
    )
    assert await _ending(hidden) == "NOT_FOUND"


async def test_an_expired_file_that_is_kept_longer_or_held_is_there_again_everywhere(
    mesh: SmallMesh,
) -> None:
    begun = now() - 31 * DAY
    kept, held = (
        kept_until(begun + 30 * DAY, namespace="back", created_at=begun) for _ in range(2)
    )
    await lay_down(mesh, kept, held)
    everywhere = Everywhere(mesh, "back")
    assert await everywhere.listed() == {who: set() for who in ALL}
    assert everywhere.registered == 0
    node = mesh.elements["se-01"]
    await node.call(
        "UpdateFile",
        storage_pb2.UpdateFileRequest(file_id=kept.file_id, file=types_pb2.File(retention_days=40)),
    )
    lifecycle: Any = lifecycle_pb2_grpc.LifecycleServiceStub(mesh.admin.channel)
    await lifecycle.SetLegalHold(
        lifecycle_pb2.SetLegalHoldRequest(file_id=held.file_id, legal_hold=True, reason="case 7"),
        metadata=mesh.bearer(),
        timeout=10,
    )
    await mesh.agree()
    ids = {kept.file_id, held.file_id}
    assert await everywhere.listed() == dict.fromkeys(ALL, ids)
    assert everywhere.registered == 2
    for file_id in ids:
        assert set((await everywhere.described(file_id)).values()) == {"OK"}


async def test_followers_keep_what_has_expired_whatever_they_read_again(mesh: SmallMesh) -> None:
    gone = kept_until(now() - DAY, namespace="followed")
    await lay_down(mesh, gone)
    rows = await mesh.agree()
    status = (await mesh.sync_status()).elements[0].file_count
    await mesh.sync()
    assert await mesh.agree() == rows
    assert (await mesh.sync_status()).elements[0].file_count == status < rows


async def test_a_download_goes_on_when_its_file_expires_meanwhile(mesh: SmallMesh) -> None:
    node: Node = mesh.elements["se-01"]
    stored = await node.upload(bytes(8 << 20), retention_days=1)
    call = node.stub.Download(
        downloads_pb2.DownloadRequest(file_id=stored.file.file_id), metadata=mesh.bearer()
    )
    header = await call.read()
    assert header.HasField("header")
    (path,) = node.rig.root.rglob(f"*{stored.file.file_id}*{SIDECAR_SUFFIX}")
    text = path.read_text()
    ends = stored.file.expires_at.ToDatetime()
    path.write_text(text.replace(f"{ends:%Y-%m-%d}T", f"{ends - 2 * DAY:%Y-%m-%d}T"))
    await repair(node)
    described = node.call(
        "GetFile", storage_pb2.StorageServiceGetFileRequest(file_id=stored.file.file_id)
    )
    assert await _ending(described) == "EXPIRED"
    size = 0
    while (part := await call.read()) is not grpc.aio.EOF:
        size += len(part.chunk.data)
    assert size == 8 << 20


async def test_an_index_that_cannot_ask_the_element_goes_by_what_it_knows(
    mesh: SmallMesh,
) -> None:
    gone = kept_until(now() - DAY, namespace="silent")
    await lay_down(mesh, gone)
    await mesh.stop("se-01")
    try:
        described = mesh.query.GetFile(
            query_pb2.QueryServiceGetFileRequest(file_id=gone.file_id),
            metadata=mesh.bearer(),
            timeout=10,
        )
        assert await _ending(described) == "EXPIRED"
    finally:
        await mesh.start_element("se-01")
