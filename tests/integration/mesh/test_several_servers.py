"""Two servers that do the same: calls go to whichever answers, and no loop of ours decides it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from artstore.v1 import downloads_pb2, query_pb2
from artstore.v1.query_pb2_grpc import QueryServiceStub
from artstore_client.calls.channels import QUICK, Channels
from mesh.calls import channels
from tests.integration.mesh.name_server import name_server
from tests.integration.mesh.two_servers import ADDRESSES, TwoServers, two_servers

FIRST, SECOND = ADDRESSES


@pytest.fixture(scope="module")
def started() -> Iterator[TwoServers]:
    with two_servers() as servers:
        yield servers


@pytest.fixture
def servers(started: TwoServers) -> Iterator[TwoServers]:
    """Both of them, mended for the next test."""
    yield started
    for address in ADDRESSES:
        started.mend(address)


@asynccontextmanager
async def query_at(endpoint: str) -> AsyncIterator[Any]:
    """The stub that the client library would use."""
    opened = Channels()
    try:
        yield QueryServiceStub(opened.to(endpoint, QUICK))
    finally:
        await opened.close()


async def who(stub: Any, **options: Any) -> str:
    request = query_pb2.QueryServiceGetFileRequest(file_id="f")
    answer = await stub.GetFile(request, timeout=10, **options)
    return str(answer.file.original_filename).partition(":")[0]


async def both_answer(stub: Any) -> None:
    async with asyncio.timeout(10):
        seen: set[str] = set()
        while seen != set(ADDRESSES):
            seen.add(await who(stub, wait_for_ready=True))


async def test_calls_take_turns_and_none_fails_when_one_is_killed_or_frozen(
    servers: TwoServers,
) -> None:
    async with query_at(servers.endpoint) as stub:
        await both_answer(stub)
        servers.kill(FIRST)
        assert {await who(stub) for _ in range(20)} == {SECOND}
        servers.start(FIRST)
        await both_answer(stub)
        servers.freeze(SECOND)
        # Half of them wait until the connection is left, and are then repeated.
        assert set(await asyncio.gather(*(who(stub) for _ in range(20)))) == {FIRST}


async def test_a_stream_of_a_frozen_server_ends_by_keepalive(
    servers: TwoServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "KEEPALIVE_SECONDS", 1.0)
    monkeypatch.setattr(channels, "SILENCE_SECONDS", 1.0)
    channel = channels.open_channel(f"{SECOND}:{servers.port}")
    try:
        stub: Any = QueryServiceStub(channel)
        call = stub.DownloadFile(downloads_pb2.DownloadRequest(file_id="f"), wait_for_ready=True)
        await call.read()
        servers.freeze(SECOND)
        async with asyncio.timeout(5):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await channel.close()


async def test_a_name_is_looked_up_again_when_one_of_its_servers_goes(servers: TwoServers) -> None:
    async with (
        name_server([FIRST, SECOND]) as names,
        query_at(f"dns://127.0.0.1:{names.port}/mesh.test:{servers.port}") as stub,
    ):
        await both_answer(stub)
        # As container networks do: who is gone has no address.
        names.addresses, asked = [FIRST], names.questions
        servers.kill(SECOND)
        assert {await who(stub) for _ in range(5)} == {FIRST}
        # At most once a second; until then the one that is gone is not forgotten.
        async with asyncio.timeout(10):
            while names.questions == asked:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.02)
        names.addresses = [FIRST, SECOND]
        servers.start(SECOND)
        asked = names.questions
        servers.kill(FIRST)
        assert await who(stub, wait_for_ready=True) == SECOND
        assert names.questions > asked
