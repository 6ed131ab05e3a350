"""A file goes from element to element, on local files and on S3, by nothing but admin's word."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from artstore.v1 import downloads_pb2, storage_pb2, transfers_pb2, types_pb2
from storage_server.peers.sources import Reading
from storage_server.steps import arriving
from tests.integration.feed.admins_hand import AdminsHand
from tests.integration.feed.small_mesh import SmallMesh, small_mesh
from tests.support.services import PostgresProcess, S3Process, ValkeyProcess
from tests.support.storage_rig import Node, noise

Code = grpc.StatusCode
LOCAL, S3, ARCHIVE = "se-01", "se-02", "se-03"
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
async def mesh(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresProcess,
    mesh_valkey: ValkeyProcess,
    s3_server: S3Process,
) -> AsyncIterator[SmallMesh]:
    """One element on local files, one on S3."""
    url, account = postgres.create_database(), s3_server.create_bucket()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", account.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", account.secret_key)
        patch.setenv("AWS_DEFAULT_REGION", account.region)
        folder = tmp_path_factory.mktemp("mesh")
        async with small_mesh(
            folder, url, mesh_valkey.url, elements=(LOCAL,), query=False
        ) as opened:
            on_s3 = {"s3_endpoint_url": account.endpoint_url, "s3_bucket": account.bucket}
            opened.s3_settings = on_s3  # type: ignore[attr-defined]
            await opened.start_element(S3, **on_s3)
            yield opened
    postgres.drop_database(url)


@pytest.fixture
async def admin(mesh: SmallMesh) -> AdminsHand:
    return await AdminsHand.of(mesh)


async def uploaded(mesh: SmallMesh, element_id: str, data: bytes) -> types_pb2.File:
    answer = await mesh.elements[element_id].upload(
        data, description="of the user", attributes={"a": "b"}, tags=["t"], namespace="default"
    )
    return answer.file  # type: ignore[no-any-return]


async def pulled(admin: AdminsHand, file: Any, source: str, target: str, digest: str = "") -> Any:
    ticket, condition = admin.ticket(file, source, target), admin.condition(file.file_id, digest)
    return [told async for told in admin.pull(target, ticket, condition)][-1]


async def moved(admin: AdminsHand, file_id: str, source: str, target: str, stub: str = "") -> Any:
    """As a transfer does it; answers the file where it is then."""
    seen = await admin.look(source, file_id)
    last = await pulled(admin, seen.file, source, target, stub)
    assert last.copied_size_bytes == seen.file.size_bytes
    mark = transfers_pb2.MarkMovedRequest(
        condition=admin.condition(file_id, seen.digest), moved_to=target
    )
    marked = (await admin.take(source, "MarkMoved", mark)).file
    assert marked.state == types_pb2.FILE_STATE_MOVED
    arrived = await admin.look(target, file_id)
    assert arrived.file.state == types_pb2.FILE_STATE_INCOMING
    request = transfers_pb2.ActivateRequest(
        condition=admin.condition(file_id, arrived.digest),
        home_since=int(time.time() * 1000),
        revision=marked.revision,
        state=types_pb2.FILE_STATE_ACTIVE,
    )
    active = await admin.take(target, "Activate", request)
    assert active.change_token
    return active.file


async def collected(admin: AdminsHand, file_id: str, element_id: str, step: int) -> Any:
    seen = await admin.look(element_id, file_id)
    request = transfers_pb2.CollectRequest(
        condition=admin.condition(file_id, seen.digest), step=step, moved_to="se-09"
    )
    return await admin.take(element_id, "Collect", request)


@pytest.mark.parametrize(("source", "target"), [(LOCAL, S3), (S3, LOCAL)])
async def test_a_file_moves_there_and_back_and_leaves_nothing(
    mesh: SmallMesh, admin: AdminsHand, source: str, target: str
) -> None:
    data = noise(9 * MEBIBYTE + 5)
    file = await uploaded(mesh, source, data)
    there = await moved(admin, file.file_id, source, target)
    for name in ("file_id", "sha256", "crc32c", "description", "attributes", "tags", "created_by"):
        assert getattr(there, name) == getattr(file, name)
    assert there.revision == file.revision + 1
    assert await mesh.elements[target].download(file.file_id) == data

    gone = await collected(admin, file.file_id, source, transfers_pb2.COLLECT_STEP_TO_GONE)
    assert gone.file.state == types_pb2.FILE_STATE_GONE
    assert gone.freed_size_bytes == len(data)
    stub = await admin.look(source, file.file_id)
    assert not stub.bytes_present
    nothing_came = await collected(admin, file.file_id, source, transfers_pb2.COLLECT_STEP_GIVE_UP)
    assert nothing_came == transfers_pb2.CollectResponse()
    back = await moved(admin, file.file_id, target, source, stub.digest)
    assert back.revision == file.revision + 2
    assert await mesh.elements[source].download(file.file_id) == data

    await collected(admin, file.file_id, target, transfers_pb2.COLLECT_STEP_TO_GONE)
    purged = await collected(admin, file.file_id, target, transfers_pb2.COLLECT_STEP_PURGE)
    assert not purged.HasField("file")
    with pytest.raises(grpc.aio.AioRpcError) as nothing:
        await admin.look(target, file.file_id)
    assert nothing.value.code() is Code.NOT_FOUND


async def test_bytes_that_are_missing_at_the_source_are_told_without_the_files_name(
    mesh: SmallMesh, admin: AdminsHand
) -> None:
    file = await uploaded(mesh, LOCAL, b"some bytes")
    (mesh.elements[LOCAL].rig.root / file.storage_path / file.storage_filename).unlink()
    ticket, condition = admin.ticket(file, LOCAL, S3), admin.condition(file.file_id, "")
    with pytest.raises(grpc.aio.AioRpcError) as damage:
        async for _ in admin.pull(S3, ticket, condition):
            pass
    told = f"the bytes of {file.file_id} are missing or damaged at {LOCAL}"
    assert (damage.value.code(), damage.value.details()) == (Code.DATA_LOSS, told)


@pytest.mark.full
async def test_a_pull_into_s3_goes_on_after_a_start_of_its_target(
    mesh: SmallMesh, admin: AdminsHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "CHECKPOINT_BYTES", MEBIBYTE)
    data = noise(20 * MEBIBYTE)
    file = await uploaded(mesh, LOCAL, data)
    came, read = 0, Reading.next

    async def breaks_off(reading: Reading) -> bytes:
        nonlocal came
        came += len(piece := await read(reading))
        if came > 17 * MEBIBYTE:
            raise ConnectionError("cut")
        return piece

    with monkeypatch.context() as cut, pytest.raises(grpc.aio.AioRpcError):
        cut.setattr(Reading, "next", breaks_off)
        await pulled(admin, file, LOCAL, S3)
    await mesh.stop(S3)
    await mesh.start_element(S3, **mesh.s3_settings)  # type: ignore[attr-defined]
    came = 0

    async def counts(reading: Reading) -> bytes:
        nonlocal came
        came += len(piece := await read(reading))
        return piece

    monkeypatch.setattr(Reading, "next", counts)
    last = await pulled(admin, file, LOCAL, S3)
    assert last.file.sha256 == file.sha256
    # Two parts of 8 MiB were on record.
    assert came == 4 * MEBIBYTE
    assert (await mesh.elements[S3].element()).reserved_bytes in (0, len(data))


async def download(node: Node, file_id: str, metadata: Any) -> bytes:
    request = downloads_pb2.DownloadRequest(file_id=file_id)
    call = node.stub.Download(request, metadata=metadata, timeout=10)
    return b"".join([part.chunk.data async for part in call])


async def test_a_ticket_opens_one_file_to_its_target_alone_also_in_an_archive(
    mesh: SmallMesh, admin: AdminsHand
) -> None:
    node = await mesh.start_element(ARCHIVE, mode="rw")
    file, other = await uploaded(mesh, ARCHIVE, b"secret"), await uploaded(mesh, ARCHIVE, b"x")
    for mode in (types_pb2.ELEMENT_MODE_RO, types_pb2.ELEMENT_MODE_AR):
        await node.call("SetMode", storage_pb2.SetModeRequest(mode=mode, drain_seconds=0))
    ticket = ("artstore-ticket", admin.ticket(file, ARCHIVE, S3))
    own = admin.token(ARCHIVE, sub="storage-se-02", admin=False)
    assert await download(node, file.file_id, (*own, ticket)) == b"secret"

    async def refused(file_id: str, *metadata: Any) -> Code:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await download(node, file_id, metadata)
        assert b"secret" not in str(error.value.details()).encode()
        return error.value.code()

    assert await refused(file.file_id, *own) is Code.FAILED_PRECONDITION
    assert await refused(other.file_id, *own, ticket) is Code.PERMISSION_DENIED
    thieves = [
        mesh.bearer(),
        admin.token(ARCHIVE, sub="storage-se-01", admin=False),
        # The target's own token for all servers, as others may have been sent it.
        admin.token("", sub="storage-se-02", admin=False),
    ]
    for thief in thieves:
        assert await refused(file.file_id, *thief, ticket) is Code.PERMISSION_DENIED
    elsewhere = ("artstore-ticket", admin.ticket(file, LOCAL, S3))
    assert await refused(file.file_id, *own, elsewhere) is Code.PERMISSION_DENIED
    # A ticket is no token, and a token no ticket.
    assert await refused(file.file_id, ("authorization", f"Bearer {ticket[1]}")) is (
        Code.UNAUTHENTICATED
    )
    token = own[0][1].removeprefix("Bearer ")
    assert await refused(file.file_id, *own, ("artstore-ticket", token)) is Code.PERMISSION_DENIED
    assert await refused(file.file_id, *own, ticket, ticket) is Code.UNAUTHENTICATED

    # Who is asked to pull by it looks at it as well, and takes the address from admin alone.
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        condition = admin.condition(file.file_id, "")
        _ = [one async for one in admin.pull(LOCAL, ticket[1], condition)]
    assert denied.value.code() is Code.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await pulled(admin, file, "se-09", S3)
    assert unknown.value.code() is Code.UNAVAILABLE
    assert (await pulled(admin, file, ARCHIVE, S3)).file.size_bytes == 6


async def test_a_step_is_admins_own(mesh: SmallMesh, admin: AdminsHand) -> None:
    node = mesh.elements[LOCAL]
    file = await uploaded(mesh, LOCAL, b"x")
    request = transfers_pb2.MarkMovedRequest(
        condition=admin.condition(file.file_id, ""), moved_to=S3
    )
    call = node.channel.unary_unary(
        "/artstore.v1.TransferService/MarkMoved",
        request_serializer=transfers_pb2.MarkMovedRequest.SerializeToString,
    )
    others = [mesh.bearer(), admin.token("", admin=True), admin.token(LOCAL, admin=False)]
    for metadata in others:
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await call(request, metadata=metadata, timeout=10)
        assert denied.value.code() is Code.PERMISSION_DENIED
