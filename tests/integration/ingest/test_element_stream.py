"""The true end of a stream whose server ends it while the client is writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from ingest_server.uploads.element_calls import RawStream
from ingest_server.uploads.element_stream import ElementStream
from mesh.calls.status import to_trailing_metadata
from mesh.errors import Aborted, ArtStoreError, Unavailable

RUNS = 60
PIECE = b"x" * 512 * 1024
TAKEN_OVER = Aborted("taken over", reason="TAKEN_OVER", metadata={"holder": "bob"})


@asynccontextmanager
async def serving(handler: Callable[..., Awaitable[bytes]]) -> AsyncIterator[RawStream]:
    """A bare server, without our interceptors, that runs `handler`."""
    server = grpc.aio.server()
    method = grpc.stream_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", {"U": method}),))
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        yield channel.stream_unary("/S/U")
    await server.stop(0)


async def test_the_servers_status_is_never_lost() -> None:
    async def abort_at_third(requests: Any, context: Any) -> bytes:
        await context.send_initial_metadata((("artstore-accepted", "1"),))
        count = 0
        async for _ in requests:
            count += 1
            if count == 3:
                details = to_trailing_metadata(TAKEN_OVER)
                await context.abort(grpc.StatusCode.ABORTED, "taken over", details)
        return b""

    seen: Counter[tuple[Any, ...]] = Counter()
    async with serving(abort_at_third) as method:
        for _ in range(RUNS):
            stream = ElementStream("se-01", method, (), stall_seconds=5)
            assert await stream.open(b"header", 2)
            while await stream.write(PIECE):
                pass
            try:
                await stream.answer()
            except ArtStoreError as exc:
                seen[type(exc), exc.message, exc.reason, exc.metadata.get("holder")] += 1
    assert seen == {(Aborted, "taken over", "TAKEN_OVER", "bob"): RUNS}


async def test_an_early_answer_is_an_answer() -> None:
    async def answer_at_once(requests: Any, context: Any) -> bytes:
        await anext(aiter(requests))
        return b"early"

    async with serving(answer_at_once) as method:
        stream = ElementStream("se-01", method, (), stall_seconds=5)
        assert not await stream.open(b"header", 2)
        assert await stream.answer() == b"early"


async def test_a_server_that_sends_no_key_has_accepted_when_no_status_follows() -> None:
    async def echo(requests: Any, context: Any) -> bytes:
        await context.send_initial_metadata(())
        return b"".join([message async for message in requests])

    async with serving(echo) as method:
        stream = ElementStream("se-01", method, (), stall_seconds=5)
        assert await stream.open(b"a", 2)
        assert await stream.write(b"b")
        await stream.half_close()
        assert await stream.answer() == b"ab"


async def test_nothing_heard_in_time_is_unavailable() -> None:
    async with grpc.aio.insecure_channel("localhost:1") as channel:
        stream = ElementStream("se-01", channel.stream_unary("/S/U"), (), stall_seconds=5)
        assert not await stream.open(b"header", 2)
        with pytest.raises(Unavailable):
            await stream.answer()
