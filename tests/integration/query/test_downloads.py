"""Downloads through query: from another replica when an element fails, and never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from artstore.v1 import downloads_pb2, storage_pb2_grpc
from artstore.v1.types_pb2 import Chunk, File
from mesh.calls import channels
from mesh.calls.status import to_trailing_metadata
from mesh.concurrency import unread
from mesh.errors import NotFound, Unavailable
from query_server.files import downloads
from query_server.files.downloads import Downloads
from query_server.rpc.query import QueryServicer
from query_server.settings import QuerySettings

CONTENT = bytes(range(256)) * 40
PIECE = 1000


class Replica(storage_pb2_grpc.StorageServiceServicer):
    """Has the file; does `after` once it has sent `until` bytes."""

    def __init__(self, *, until: int = len(CONTENT), after: str = "", sha256: str = "s") -> None:
        self.until, self.after, self.sha256 = until, after, sha256
        self.asked: list[tuple[int, int]] = []
        self.ended = asyncio.Event()

    async def Download(
        self, request: downloads_pb2.DownloadRequest, context: Any
    ) -> AsyncIterator[downloads_pb2.DownloadResponse]:
        try:
            self.asked.append((request.offset, request.length))
            if self.after == "end of its retention":
                over = NotFound("over", reason="EXPIRED")
                await context.abort(
                    grpc.StatusCode.NOT_FOUND, over.message, to_trailing_metadata(over)
                )
            end = request.offset + request.length if request.length else len(CONTENT)
            file = File(file_id=request.file_id, size_bytes=len(CONTENT), sha256=self.sha256)
            header = downloads_pb2.DownloadHeader(
                file=file, offset=request.offset, length=end - request.offset
            )
            yield downloads_pb2.DownloadResponse(header=header)
            stop = min(end, self.until) if self.after else end
            for at in range(request.offset, stop, PIECE):
                yield downloads_pb2.DownloadResponse(
                    chunk=Chunk(offset=at, data=CONTENT[at : min(at + PIECE, stop)])
                )
            if self.after == "silence":
                await asyncio.Event().wait()
            elif self.after == "failure":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the disk is gone")
            elif self.after == "collection":
                went = NotFound("not here any more", metadata={"moved_to": "second"})
                await context.abort(
                    grpc.StatusCode.NOT_FOUND, went.message, to_trailing_metadata(went)
                )
        finally:
            self.ended.set()


async def no_metadata(element_id: str) -> tuple[()]:
    return ()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Starts fake elements; answers their addresses."""
    async with AsyncExitStack() as stack:

        async def start(**elements: Replica) -> Mapping[str, str]:
            endpoints = {}
            for name, element in elements.items():
                server = grpc.aio.server()
                storage_pb2_grpc.add_StorageServiceServicer_to_server(element, server)  # type: ignore[no-untyped-call]
                endpoints[name] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
                await server.start()
                stack.push_async_callback(server.stop, 0)
            return endpoints

        yield start


@pytest.fixture
async def passing_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Downloads]:
    monkeypatch.setattr(downloads, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(
        channels, "open_mesh_channel", lambda endpoint, _: grpc.aio.insecure_channel(endpoint)
    )
    settings = QuerySettings(
        database_url="postgresql://nobody@localhost/nothing", data_dir=tmp_path
    )
    kept = channels.KeptChannels(settings)
    yield Downloads(kept)
    await kept.close()


def stream(
    passing_on: Downloads, endpoints: Mapping[str, str], *, offset: int = 0, length: int = 0
) -> Any:
    return passing_on.stream(
        downloads.Progress(
            downloads_pb2.DownloadRequest(file_id="f", offset=offset, length=length or None)
        ),
        elements=["first", "second"],
        endpoints=endpoints,
        metadata=no_metadata,
    )


@pytest.mark.parametrize("after", ["silence", "failure"])
@pytest.mark.parametrize(("offset", "length"), [(0, 0), (500, 6000)])
async def test_another_replica_goes_on_from_the_offset_reached(
    serve: Any, passing_on: Downloads, after: str, offset: int, length: int
) -> None:
    second = Replica()
    endpoints = await serve(first=Replica(until=4096, after=after), second=second)
    parts = [p async for p in stream(passing_on, endpoints, offset=offset, length=length)]
    assert [p.HasField("header") for p in parts] == [True] + [False] * (len(parts) - 1)
    wanted = CONTENT[offset : offset + length if length else None]
    assert parts[0].header.length == len(wanted)
    assert b"".join(p.chunk.data for p in parts[1:]) == wanted
    assert second.asked == [(4096, offset + len(wanted) - 4096)]


async def test_a_copy_does_not_give_what_its_home_says_has_expired(
    serve: Any, passing_on: Downloads
) -> None:
    second = Replica()
    endpoints = await serve(first=Replica(after="end of its retention"), second=second)
    with pytest.raises(NotFound) as refused:
        async for _ in stream(passing_on, endpoints):
            pass
    assert (refused.value.reason, second.asked) == ("EXPIRED", [])


async def test_a_replica_of_other_bytes_does_not_go_on(serve: Any, passing_on: Downloads) -> None:
    endpoints = await serve(
        first=Replica(until=4096, after="failure"), second=Replica(sha256="other")
    )
    got = b""
    with pytest.raises(Unavailable, match="differ"):
        async for part in stream(passing_on, endpoints):
            got += part.chunk.data
    assert got == CONTENT[:4096]


async def test_a_silent_element_without_a_second_replica_is_given_up(
    serve: Any, passing_on: Downloads
) -> None:
    first = Replica(until=4096, after="silence")
    endpoints = await serve(first=first)
    with pytest.raises(Unavailable, match="first is silent"):
        async with asyncio.timeout(5):
            [part async for part in stream(passing_on, endpoints)]
    await asyncio.wait_for(first.ended.wait(), 5)


async def test_a_download_that_its_caller_leaves_ends_at_the_element(
    serve: Any, passing_on: Downloads
) -> None:
    first = Replica(until=4096, after="silence")
    endpoints = await serve(first=first)
    async with aclosing(stream(passing_on, endpoints)) as parts:
        assert (await anext(parts)).HasField("header")
    await asyncio.wait_for(first.ended.wait(), 5)


async def test_what_is_collected_where_it_is_read_goes_on_where_it_went(
    serve: Any, passing_on: Downloads
) -> None:
    second = Replica()
    endpoints = await serve(first=Replica(until=4096, after="collection"), second=second)

    async def replicas(*_: object) -> Any:
        return [{"storage_element_id": "first", "ended": False}]

    async def find(*_: object, but: Any) -> tuple[str, File]:
        assert but == ["first"]
        return "second", File()

    def stream(progress: downloads.Progress, homes: Any, caller: object) -> Any:
        return passing_on.stream(
            progress, elements=homes, endpoints=endpoints, metadata=no_metadata
        )

    nothing: Any = None
    files: Any = SimpleNamespace(replicas=replicas)
    originals: Any = SimpleNamespace(find=find, stream=stream)
    query = QueryServicer(nothing, files, originals, nothing, nothing)
    request = downloads_pb2.DownloadRequest(file_id="f")
    parts = [part async for part in query.DownloadFile(request, None)]
    assert [p.HasField("header") for p in parts] == [True] + [False] * (len(parts) - 1)
    assert b"".join(p.chunk.data for p in parts[1:]) == CONTENT
    assert second.asked == [(4096, len(CONTENT) - 4096)]


async def test_where_much_waits_little_is_asked_for_at_a_time_and_all_comes(
    passing_on: Downloads, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "AHEAD_BYTES", 2 * PIECE)
    element = Replica()
    endpoints = await serve(first=element)
    passing_on.unread.held_bytes = unread.CROWDED_BYTES
    parts = [part async for part in stream(passing_on, endpoints, offset=1)]
    assert b"".join(part.chunk.data for part in parts) == CONTENT[1:]
    assert (parts[0].header.offset, parts[0].header.length) == (1, len(CONTENT) - 1)
    assert all(0 < length <= 2 * PIECE for _, length in element.asked)
    assert len(element.asked) > 1
    assert passing_on.unread.held_bytes == unread.CROWDED_BYTES


async def test_nothing_is_held_at_an_element_for_a_reader_that_takes_nothing(
    passing_on: Downloads, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "STUCK_SECONDS", 0.05)
    element = Replica(after="silence", until=PIECE)
    endpoints = await serve(first=element)
    answers = stream(passing_on, endpoints)
    header = await anext(answers)
    found = (await anext(answers)).chunk.data
    async with asyncio.timeout(5):
        await element.ended.wait()
    element.after = ""
    found += b"".join([part.chunk.data async for part in answers])
    assert header.header.length == len(CONTENT)
    assert found == CONTENT
    assert [offset for offset, _ in element.asked] == [0, PIECE]
