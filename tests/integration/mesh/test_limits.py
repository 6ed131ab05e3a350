"""What a server refuses because it is too much, and what it never does."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import REGISTRY

from artstore.v1 import (
    changes_pb2,
    downloads_pb2,
    server_pb2,
    server_pb2_grpc,
    storage_pb2,
)
from mesh.calls.status import from_rpc_error
from mesh.errors import ArtStoreError, InvalidArgument, ResourceExhausted
from mesh.identity.tokens import KeySet, TokenVerifier
from mesh.server.server import MeshServer
from mesh.settings import MeshSettings
from tests.integration.mesh.serving import STORAGE, Serving, serving, upload_chunk
from tests.support.waiting import until

GET_FILE = f"/{STORAGE}/GetFile"
HEALTH = "/grpc.health.v1.Health/Check"
SECONDS = 10.0


@asynccontextmanager
async def limited(**limits: dict[str, float]) -> AsyncIterator[Serving]:
    """A server with these limits: `of_all`, `server`, or a method of StorageService."""
    names = {"of_all": "*", "server": "server"}
    changes = {names.get(name, f"{STORAGE}/{name}"): values for name, values in limits.items()}
    async with serving(limits=json.dumps(changes)) as mesh:
        yield mesh


def refusals(reason: str, method: str) -> float:
    labels = {"method": method, "reason": reason}
    return REGISTRY.get_sample_value("artstore_refusals_total", labels) or 0.0


async def refused(call: Any) -> ArtStoreError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SECONDS):
            await (call.read() if hasattr(call, "read") else call)
    return from_rpc_error(caught.value)


def raw(mesh: Serving, method: str, kind: str = "unary_unary") -> Any:
    return getattr(mesh.channel, kind)(method)


async def test_a_message_that_is_too_large_is_refused_with_its_limit_and_counted() -> None:
    async with serving() as mesh:
        before = refusals("MESSAGE_TOO_LARGE", GET_FILE)
        error = await refused(raw(mesh, GET_FILE)(bytes(64 * 1024 + 1), metadata=mesh.bearer()))
        assert isinstance(error, ResourceExhausted)
        assert (error.reason, error.metadata) == ("MESSAGE_TOO_LARGE", {"max_bytes": "65536"})
        assert not mesh.storage.seen
        assert refusals("MESSAGE_TOO_LARGE", GET_FILE) == before + 1


async def test_a_packed_message_is_unpacked_as_far_as_its_limit_goes() -> None:
    async with serving() as mesh:
        asked = storage_pb2.StorageServiceGetFileRequest(file_id="x" * 1000)
        packed = grpc.Compression.Gzip
        answer = await mesh.stub.GetFile(asked, metadata=mesh.bearer(), compression=packed)
        assert answer.file.file_id == asked.file_id
        bomb = raw(mesh, GET_FILE)(bytes(4 << 20), metadata=mesh.bearer(), compression=packed)
        assert (await refused(bomb)).reason == "MESSAGE_TOO_LARGE"
        broken = gzip.compress(asked.SerializeToString())[:-9] + b"no gzip!!"
        error = await refused(raw(mesh, GET_FILE)(broken, metadata=mesh.bearer()))
        assert isinstance(error, InvalidArgument)


async def test_a_caller_without_a_token_is_refused_before_his_message_is_read() -> None:
    async with serving() as mesh:
        for size in (10, 60 * 1024, 3 << 20):
            for _ in range(10):
                assert (await refused(raw(mesh, GET_FILE)(bytes(size)))).reason == "TOKEN_MISSING"
        stream = raw(mesh, GET_FILE, "stream_unary")()
        assert (await refused(stream)).reason == "TOKEN_MISSING"


async def test_a_list_that_is_too_long_is_refused_before_it_is_looked_at() -> None:
    async with serving() as mesh:
        update = storage_pb2.UpdateFileRequest()
        update.update_mask.paths.extend(["description"] * 101)
        error = await refused(mesh.stub.UpdateFile(update, metadata=mesh.bearer()))
        assert (error.reason, error.metadata) == (
            "TOO_MANY_ITEMS",
            {"field": "paths", "max_items": "100"},
        )
        batch = storage_pb2.UpdateFileRequest()
        batch.file.tags.extend(["t"] * 1001)
        error = await refused(mesh.stub.UpdateFile(batch, metadata=mesh.bearer()))
        assert (error.reason, error.metadata["max_items"]) == ("TOO_MANY_ITEMS", "1000")


CALLS: dict[str, Callable[[Serving], Any]] = {
    "one message": lambda mesh: raw(mesh, GET_FILE, "stream_unary")(metadata=mesh.bearer()),
    "a stream of messages": lambda mesh: mesh.stub.Upload(metadata=mesh.bearer(role="SERVICE")),
    "one message, a stream of answers": lambda mesh: raw(
        mesh, f"/{STORAGE}/Download", "stream_stream"
    )(metadata=mesh.bearer()),
    "no token needed": lambda mesh: raw(mesh, HEALTH, "stream_unary")(),
}


@pytest.mark.parametrize("begin", CALLS.values(), ids=CALLS)
async def test_a_call_whose_message_does_not_come_ends(begin: Callable[[Serving], Any]) -> None:
    async with limited(of_all={"first_message_seconds": 0.2}) as mesh:
        error = await refused(begin(mesh))
        assert isinstance(error, ResourceExhausted)
        assert (error.reason, error.retry_after_seconds) == ("NO_MESSAGE", 1.0)


async def test_a_silent_upload_ends_and_a_slow_handler_is_no_silence() -> None:
    async with limited(of_all={"silence_seconds": 0.3}) as mesh:
        upload = mesh.stub.Upload(metadata=mesh.bearer(role="SERVICE"))
        await upload.write(upload_chunk())
        assert (await refused(upload)).reason == "SILENCE"

        async def slow(_: Any) -> None:
            await asyncio.sleep(0.6)

        mesh.storage.on_call = slow
        chunks = iter([upload_chunk(), upload_chunk()])
        answer = await mesh.stub.Upload(chunks, metadata=mesh.bearer(role="SERVICE"))
        assert answer.change_token == "2"


async def test_answers_that_nobody_takes_free_their_handler_and_count_until_the_caller_leaves() -> (
    None
):
    download = f"/{STORAGE}/Download"
    async with limited(Download={"stuck_write_seconds": 0.3, "calls_per_caller": 1}) as mesh:
        before = refusals("STUCK_WRITE", download)
        ask = downloads_pb2.DownloadRequest(length=1_000_000)
        call = mesh.stub.Download(ask, metadata=mesh.bearer())
        await call.read()
        await until(lambda: mesh.storage.ended == ["Download"])
        await until(lambda: refusals("STUCK_WRITE", download) == before + 1)
        # grpc still has what was not taken.
        again = mesh.stub.Download(ask, metadata=mesh.bearer())
        assert (await refused(again)).reason == "TOO_MANY_CALLS"
        call.cancel()
        await until(lambda: mesh.server.metrics.in_flight == 0)
        one = downloads_pb2.DownloadRequest(length=1)
        await mesh.stub.Download(one, metadata=mesh.bearer()).read()


async def test_who_reads_on_after_all_is_told_why_his_answers_ended() -> None:
    async with limited(Download={"stuck_write_seconds": 0.3}) as mesh:
        ask = downloads_pb2.DownloadRequest(length=1_000_000)
        call = mesh.stub.Download(ask, metadata=mesh.bearer())
        await call.read()
        await until(lambda: mesh.storage.ended == ["Download"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with asyncio.timeout(SECONDS):
                while True:
                    await call.read()
        error = from_rpc_error(caught.value)
        assert isinstance(error, ResourceExhausted)
        assert (error.reason, error.retry_after_seconds) == ("STUCK_WRITE", 1.0)


async def held_up(mesh: Serving, calls: int, **claims: Any) -> tuple[list[Any], asyncio.Event]:
    """So many calls of GetFile that wait in their handlers until the event."""
    go, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(_: Any) -> None:
        entered.release()
        await go.wait()

    mesh.storage.on_call = wait
    ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
    metadata = mesh.bearer(**claims)
    begun = [mesh.stub.GetFile(ask, metadata=metadata) for _ in range(calls)]
    async with asyncio.timeout(SECONDS):
        for _ in range(calls):
            await entered.acquire()
    return begun, go


async def test_an_account_has_its_share_of_calls_and_others_have_theirs() -> None:
    ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
    async with limited(GetFile={"calls_per_caller": 3}) as mesh:
        begun, go = await held_up(mesh, 3)
        error = await refused(mesh.stub.GetFile(ask, metadata=mesh.bearer()))
        assert isinstance(error, ResourceExhausted)
        assert (error.reason, error.retry_after_seconds) == ("TOO_MANY_CALLS", 1.0)
        other = mesh.stub.GetFile(ask, metadata=mesh.bearer(sub="bob"))
        go.set()
        await asyncio.gather(other, *begun)
        await mesh.stub.GetFile(ask, metadata=mesh.bearer())


async def test_an_account_has_as_many_calls_in_all_as_its_token_says() -> None:
    ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
    async with serving() as mesh:
        begun, go = await held_up(mesh, 2, limits={"calls": 2})
        error = await refused(mesh.stub.GetFile(ask, metadata=mesh.bearer(limits={"calls": 2})))
        assert error.reason == "TOO_MANY_CALLS"
        go.set()
        await asyncio.gather(*begun)


@pytest.mark.parametrize("where", [{"GetFile": {"calls": 2}}, {"server": {"calls": 2}}])
async def test_servers_and_admins_are_let_in_while_users_fill_it(
    where: dict[str, dict[str, float]],
) -> None:
    ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
    async with limited(**where) as mesh:
        begun, go = await held_up(mesh, 2)
        error = await refused(mesh.stub.GetFile(ask, metadata=mesh.bearer(sub="bob")))
        assert error.reason == "TOO_MANY_CALLS"
        mesh.storage.on_call = None
        for role in ("SERVICE", "ADMIN"):
            await mesh.stub.GetFile(ask, metadata=mesh.bearer(sub=role, role=role))
        go.set()
        await asyncio.gather(*begun)


async def test_who_waits_with_nothing_to_say_keeps_nobody_of_his_address_out() -> None:
    async with limited(server={"waiting_per_address": 5}) as mesh:
        waiting = [raw(mesh, HEALTH, "stream_unary")() for _ in range(40)]
        async with asyncio.timeout(SECONDS):
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(call.code()) for call in waiting],
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert {one.result() for one in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await until(lambda: sum(call.done() for call in waiting) == 35)
        asked = health_pb2.HealthCheckRequest().SerializeToString()
        await raw(mesh, HEALTH)(asked)
        for call in waiting:
            call.cancel()


async def test_two_hundred_uploads_and_ninety_followers_of_one_account_are_never_refused() -> None:
    async with serving() as mesh:
        metadata = mesh.bearer(role="SERVICE")
        watches = [
            mesh.stub.WatchChanges(changes_pb2.WatchChangesRequest(), metadata=metadata)
            for _ in range(90)
        ]
        await asyncio.gather(*(watch.read() for watch in watches))

        def chunks() -> Iterator[Any]:
            return iter([upload_chunk(), upload_chunk()])

        uploads = [mesh.stub.Upload(chunks(), metadata=metadata) for _ in range(200)]
        answers = await asyncio.gather(*uploads)
        assert {answer.change_token for answer in answers} == {"2"}
        assert not any(watch.done() for watch in watches)
        for watch in watches:
            watch.cancel()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with limited(server={"handshake_seconds": 0.5}) as mesh:
        host, _, port = mesh.server.endpoint.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(SECONDS):
            while await reader.read(4096):
                pass
        writer.close()


async def test_a_connection_without_a_call_is_closed_and_the_next_call_opens_another() -> None:
    async with limited(server={"idle_seconds": 0.3}) as mesh:
        ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
        await mesh.stub.GetFile(ask, metadata=mesh.bearer())
        async with asyncio.timeout(SECONDS):
            while mesh.channel.get_state() == grpc.ChannelConnectivity.READY:
                await mesh.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await mesh.stub.GetFile(ask, metadata=mesh.bearer())


async def test_connections_beyond_the_limit_are_closed() -> None:
    async with limited(server={"connections": 3}) as mesh:
        host, _, port = mesh.server.endpoint.rpartition(":")
        address = (await asyncio.get_running_loop().getaddrinfo(host, int(port)))[0]
        opened = [socket.create_connection(address[4][:2]) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*address[4][:2])
        async with asyncio.timeout(SECONDS):
            while await reader.read(4096):
                pass
        writer.close()
        for one in opened:
            one.close()
        ask = storage_pb2.StorageServiceGetFileRequest(file_id="x")
        await mesh.stub.GetFile(ask, metadata=mesh.bearer(), wait_for_ready=True, timeout=SECONDS)


async def test_server_info_tells_what_its_calls_keep_to() -> None:
    async with limited(GetFile={"calls_per_caller": 7}) as mesh:
        stub: Any = server_pb2_grpc.ServerServiceStub(mesh.channel)
        answer = await stub.GetServerInfo(server_pb2.GetServerInfoRequest(), metadata=mesh.bearer())
        limits = answer.server.limits
        told = {method.method: method for method in limits.methods}
        assert told[f"{STORAGE}/GetFile"].max_calls_per_account == 7
        assert told[f"{STORAGE}/GetFile"].max_request_size_bytes == 64 * 1024
        assert told[f"{STORAGE}/Upload"].max_request_size_bytes == (2 << 20) + 64 * 1024
        assert limits.max_calls == 4000


@pytest.mark.parametrize("kind", [server_pb2.SERVER_KIND_ADMIN, server_pb2.SERVER_KIND_QUERY])
async def test_where_no_files_are_taken_a_large_message_is_refused_before_it_is_there(
    kind: server_pb2.ServerKind.ValueType,
) -> None:
    server = MeshServer(MeshSettings(host="localhost"), TokenVerifier(KeySet()), kind=kind)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.endpoint) as channel:
            check: Any = channel.unary_unary(HEALTH)
            said = await refused(check(bytes(1024 * 1024)))
            assert isinstance(said, ResourceExhausted)
            assert "larger than max" in said.message
            # Of what is not much too large the limit is told.
            assert (await refused(check(bytes(100 * 1024)))).reason == "MESSAGE_TOO_LARGE"
    finally:
        await server.stop(drain_seconds=0.5)
