"""The event loop of servers beside gRPC's own thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc.aio
import pytest

from mesh.concurrency import loop as module
from mesh.concurrency.loop import ServerLoop

CALLS = 40


class PollerCompletionQueue:
    """As gRPC's: a byte for each event; a call reads one of them and takes all events."""

    def __init__(self) -> None:
        self.reading, self.writing = socket.socketpair()
        self.events = 0
        self.calls = 0

    def tell(self, count: int) -> None:
        for _ in range(count):
            self.events += 1
            self.writing.send(b"1")

    def _handle_events(self, taken: asyncio.Event) -> None:
        assert self.reading.recv(1) == b"1"
        self.calls += 1
        self.events = 0
        taken.set()

    def bytes_left(self) -> int:
        try:
            return len(self.reading.recv(100, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0


@pytest.mark.parametrize("count", [1, 2, 250])
def test_all_wake_ups_of_events_are_taken_with_them(count: int) -> None:
    async def main() -> None:
        queue, taken = PollerCompletionQueue(), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(queue.reading, partial(queue._handle_events, taken))
        queue.tell(count)
        await taken.wait()
        assert (queue.events, queue.calls, queue.bytes_left()) == (0, 1, 0)
        taken.clear()
        queue.tell(1)
        await taken.wait()
        loop.remove_reader(queue.reading)

    with asyncio.Runner(loop_factory=ServerLoop) as runner:
        runner.run(main())


def test_what_others_read_is_left_to_them() -> None:
    async def main() -> None:
        reading, writing = socket.socketpair()
        seen, came = [], asyncio.Event()

        def read() -> None:
            seen.append(reading.recv(100))
            came.set()

        asyncio.get_running_loop().add_reader(reading, read)
        writing.send(b"12345")
        await came.wait()
        asyncio.get_running_loop().remove_reader(reading)
        assert seen == [b"12345"]

    with asyncio.Runner(loop_factory=ServerLoop) as runner:
        runner.run(main())


def test_calls_of_grpc_are_told_of_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when grpc.aio names or does it otherwise: then see whether it is needed still."""
    taken: list[int] = []
    original = module._take_all_but_one

    def counted(wake_ups: socket.socket, handle: Callable[[], Any]) -> None:
        taken.append(len(wake_ups.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)))
        original(wake_ups, handle)

    monkeypatch.setattr(module, "_take_all_but_one", counted)

    async def main() -> None:
        async def answer(request: bytes, _: Any) -> bytes:
            return request

        server = grpc.aio.server()
        handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/a.B/Call")
            answers = await asyncio.gather(*(call(b"%d" % number) for number in range(CALLS)))
        await server.stop(0)
        assert answers == [b"%d" % number for number in range(CALLS)]

    failed: list[BaseException] = []

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=ServerLoop) as runner:
                runner.run(main())
        except BaseException as error:
            failed.append(error)

    # gRPC stays with the first loop that uses it, unless all is closed that did.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed
    assert taken
    assert max(taken) < CALLS
