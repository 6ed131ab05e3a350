"""Reading sidecars for a rebuild: in this process, or much of it in another one."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self, TypeVar

import structlog

from mesh.concurrency.watched import cancel_and_wait
from storage_server.cache import reading_process
from storage_server.cache.candidates import Answer, Candidate, Request, Seen, sorted_out
from storage_server.cache.reading_process import READY
from storage_server.sidecars.reading import InvalidAttr
from storage_server.store.port import Store

# A start takes as long as reading so many.
WORTH_A_PROCESS = 8000
SILENT_SECONDS = 20.0

_log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")
Sorted = tuple[list[Candidate], list[InvalidAttr]]


class Reading:
    """The reading of one rebuild, to be used as a context.

    Reading many sidecars of a local store keeps the interpreter so busy that every call to the
    server waits for it; so beyond `WORTH_A_PROCESS` of them a process is started that reads. While
    it starts, and if it dies or falls silent, they are read here.
    """

    def __init__(self, store: Callable[[], Store], seen: Callable[[], Seen]) -> None:
        self._store = store
        self._seen = seen
        self._met = 0
        self._here = asyncio.Lock()
        self._other: asyncio.Task[_Other] | None = None
        self._given_up = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end_other()

    @property
    def process_id(self) -> int | None:
        """Of the process that reads; None while it is done here."""
        started = self._other is not None and self._other.done() and not self._other.cancelled()
        if self._other is None or not started or self._other.exception() is not None:
            return None
        return self._other.result().pid

    async def read(self, paths: Sequence[str], without_blob: AbstractSet[str]) -> Sorted:
        """Valid sidecars and others; those that are gone by now are neither.

        Args:
            without_blob: those of `paths` whose blob is not there.
        """
        self._met += len(paths)
        request = Request(paths, without_blob, self._seen())
        other = await self._ready()
        if other is not None:
            try:
                return await other.read(request)
            except (OSError, EOFError, TimeoutError, pickle.PickleError) as exc:
                await self._give_up(exc)
        async with self._here:
            contents = await self._store().read_sidecars(paths)
            return await asyncio.to_thread(
                sorted_out, request.paths, contents, request.without_blob, request.seen
            )

    async def _ready(self) -> _Other | None:
        folder = self._store().folder
        if self._given_up or folder is None or self._met < WORTH_A_PROCESS:
            return None
        if self._other is None:
            self._other = asyncio.create_task(_Other.start(folder))
        if not self._other.done():
            return None
        try:
            return self._other.result()
        except (OSError, EOFError, TimeoutError) as exc:
            await self._give_up(exc)
            return None

    async def _give_up(self, error: BaseException) -> None:
        """Go on here: it may be the store, which is then met here too."""
        if not self._given_up:
            _log.warning("the process that reads sidecars is of no use", error=repr(error))
        self._given_up = True
        await self._end_other()

    async def _end_other(self) -> None:
        task, self._other = self._other, None
        await cancel_and_wait(task)
        if task is not None and not task.cancelled() and task.exception() is None:
            await task.result().end()


class _Other:
    """The other process, and a thread that speaks with it."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection) -> None:
        self.pid = process.pid
        self._process = process
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading process")

    @classmethod
    async def start(cls, folder: Path) -> _Other:
        """Start it, and hear that it is ready."""
        starting = asyncio.create_task(asyncio.to_thread(_started, folder))
        try:
            other = cls(*await asyncio.shield(starting))
        except asyncio.CancelledError:
            await cls(*await starting).end()
            raise
        try:
            if await other._within(other._heard) != READY:
                raise EOFError("no reading process")
        except BaseException:
            await other.end()
            raise
        return other

    async def read(self, request: Request) -> Sorted:
        """Have it read.

        Raises:
            OSError, EOFError: it has ended.
            TimeoutError: it has not answered within SILENT_SECONDS.
        """
        return await self._within(lambda: self._ask(request))

    async def end(self) -> None:
        """End it, whatever it is at."""
        await asyncio.shield(asyncio.to_thread(self._end))

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        # What its thread waits for has ended with it.
        self._thread.shutdown(wait=True)
        self._connection.close()

    async def _within(self, call: Callable[[], T]) -> T:
        async with asyncio.timeout(SILENT_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _ask(self, request: Request) -> Sorted:
        self._connection.send_bytes(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
        answer: Answer = pickle.loads(self._heard())
        valid, invalid = answer
        new = tuple.__new__
        return [new(Candidate, values) for values in valid], [*invalid]

    def _heard(self) -> bytes:
        return self._connection.recv_bytes()


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        # As this process finds its modules, however it was started.
        found = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", reading_process.__name__, str(fd), str(folder)]
        process = subprocess.Popen(
            command, pass_fds=[fd], env=os.environ | found, stdin=subprocess.DEVNULL
        )
    return process, Connection(ours.detach())
