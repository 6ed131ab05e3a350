"""Bytes of uploads that are no whole part yet, and that S3 therefore does not take.

Together they take little memory, however many uploads are open: beyond that, those that grew
longest ago go to a file without a name, which ends with the process, as bytes in memory do. So do
parts that wait until others have been sent.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.concurrency.watched import seen
from storage_server.store.folders import Handle
from storage_server.store.threads import Threads

MEMORY_BYTES = 48 << 20
SENDING_BYTES = 64 << 20
# A file costs a descriptor, and is not made for less.
LEAST_TO_FILE_BYTES = 128 << 10
_WHAT = "a file for what is below a part"


class Tails:
    """Of all uploads of a store.

    Args:
        folder: where the files are made; None is the system's own.
    """

    def __init__(self, threads: Threads, folder: Path | None) -> None:
        self.threads = threads
        self.memory_bytes = 0
        self._folder = folder
        self._by_age: dict[Tail, None] = {}
        self._sending_bytes = 0
        self._sent = asyncio.Condition()

    def begin(self) -> Tail:
        """An empty one."""
        return Tail(self)

    async def make_room(self) -> None:
        """Write to files what is too much for the memory.

        Raises:
            ResourceExhausted, StoreReadOnly, Unavailable: the disk does not take it.
        """
        while self.memory_bytes > MEMORY_BYTES:
            oldest = next((tail for tail in self._by_age if tail.may_go), None)
            if oldest is None:
                return
            # The one who waits may be cancelled; the bytes must be in one place all the same.
            await asyncio.shield(oldest.begin_to_go())

    @asynccontextmanager
    async def sending(self, size_bytes: int) -> AsyncIterator[None]:
        """While a part is in memory as a whole, on its way to the server."""
        async with self._sent:
            await self._sent.wait_for(lambda: self._fits(size_bytes))
            self._sending_bytes += size_bytes
        try:
            yield
        finally:
            self._sending_bytes -= size_bytes
            async with self._sent:
                self._sent.notify_all()

    def grew(self, tail: Tail, size_bytes: int) -> None:
        """One has grown in memory."""
        self.memory_bytes += size_bytes
        self._by_age.pop(tail, None)
        self._by_age[tail] = None

    def shrank(self, tail: Tail, size_bytes: int, *, gone: bool) -> None:
        """One takes less memory; `gone` if it never comes back."""
        self.memory_bytes -= size_bytes
        if gone:
            self._by_age.pop(tail, None)

    def new_file(self) -> Handle:
        """A file without a name, for a thread to make."""
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return Handle(os.dup(file.fileno()))

    def _fits(self, size_bytes: int) -> bool:
        return not self._sending_bytes or self._sending_bytes + size_bytes <= SENDING_BYTES


class Tail:
    """Of one upload, or one of its parts. `drop` it in the end."""

    def __init__(self, among: Tails) -> None:
        self._among = among
        self._pieces: list[bytes | memoryview] = []
        self._memory_bytes = 0
        self._file: Handle | None = None
        self._file_bytes = 0
        self._going: asyncio.Future[None] | None = None
        self._dropped = False

    @property
    def size_bytes(self) -> int:
        """How much it holds."""
        return self._file_bytes + self._memory_bytes

    @property
    def may_go(self) -> bool:
        """There is something in memory that is worth a file."""
        return self._going is None and self._memory_bytes >= LEAST_TO_FILE_BYTES

    def add(self, piece: bytes | memoryview) -> None:
        """Append."""
        self._pieces.append(piece)
        self._memory_bytes += len(piece)
        self._among.grew(self, len(piece))

    async def whole(self) -> bytes:
        """All of it; it stays.

        Raises:
            Unavailable: the file cannot be read.
        """
        while (going := self._going) is not None:
            await asyncio.wait({going})
        threads = self._among.threads
        # What goes to the file meanwhile is left in the copy, and written behind what is read.
        pieces = list(self._pieces)
        return await threads.run(_WHAT, _joined, self._file, self._file_bytes, pieces)

    def begin_to_go(self) -> asyncio.Future[None]:
        """Write to the file what is in memory now."""
        self._going = going = asyncio.ensure_future(self._go())
        going.add_done_callback(seen)
        return going

    def drop(self) -> None:
        """Forget all of it."""
        if self._dropped:
            return
        self._dropped = True
        self._among.shrank(self, self._memory_bytes, gone=True)
        self._pieces, self._memory_bytes = [], 0
        # A thread that is still at it holds the file; the last to let go closes it.
        self._file, self._file_bytes = None, 0

    async def _go(self) -> None:
        pieces, size = list(self._pieces), self._memory_bytes
        threads = self._among.threads
        try:
            file = self._file
            if file is None:
                file = await threads.run(_WHAT, self._among.new_file)
            await threads.run(_WHAT, _write, file, self._file_bytes, pieces)
            if not self._dropped:
                self._file = file
                self._file_bytes += size
                del self._pieces[: len(pieces)]
                self._memory_bytes -= size
                self._among.shrank(self, size, gone=False)
        finally:
            self._going = None


def _write(file: Handle, at: int, pieces: Sequence[bytes | memoryview]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            written = os.pwrite(file.fd, rest, at)
            at, rest = at + written, rest[written:]


def _joined(file: Handle | None, file_bytes: int, pieces: Sequence[bytes | memoryview]) -> bytes:
    if file is None:
        return b"".join(pieces)
    found, at = [], 0
    while at < file_bytes:
        data = os.pread(file.fd, file_bytes - at, at)
        if not data:
            raise OSError("a file without a name has become shorter")
        found.append(data)
        at += len(data)
    return b"".join([*found, *pieces])
