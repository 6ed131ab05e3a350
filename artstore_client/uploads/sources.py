"""Where an upload's bytes come from: paths, file objects, bytes, iterators."""

from __future__ import annotations

import asyncio
import io
import os
import select
import threading
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from artstore_client.contract import CHUNK_BYTES
from artstore_client.errors import InvalidArgument, SourceChanged
from artstore_client.local.folders import open_below
from artstore_client.local.lone_thread import LoneThread
from artstore_client.local.open_files import ends_where_it_says, plain_file, regular_descriptor

# Several pieces are read at a time, since each change of thread costs.
BLOCK_PIECES = 2

T = TypeVar("T")
Make = Callable[[int, bytes], T]

UploadSource = (
    str | os.PathLike[str] | BinaryIO | bytes | bytearray | Iterable[bytes] | AsyncIterable[bytes]
)


@dataclass(frozen=True, slots=True)
class FileBelow(os.PathLike[str]):
    """A file of a folder that may hold anything: what leads out of the folder is not read.

    Attributes:
        relative: its path below `top`, without links.
    """

    top: Path
    relative: str

    def __fspath__(self) -> str:
        return os.path.join(self.top, self.relative)  # noqa: PTH118


class Source(ABC):
    """Bytes of one upload.

    Attributes:
        name: a file name if the source has one, else empty.
        size_bytes: None when it is not known before the end.
        seekable: `blocks` may be called again, from any offset.
    """

    name = ""
    size_bytes: int | None = None
    seekable = False

    @abstractmethod
    def blocks(self, offset: int, piece_bytes: int) -> AsyncGenerator[list[bytes], None]:
        """The bytes from `offset` to the end: up to `BLOCK_PIECES` pieces at a time.

        A piece has at most `piece_bytes` and is never empty.
        """

    async def made(
        self, make: Make[T], offset: int, piece_bytes: int
    ) -> AsyncGenerator[list[T], None]:
        """What `make` makes of each piece and its offset, in a thread: as `blocks` gives them."""
        loop = asyncio.get_running_loop()
        async with aclosing(self.blocks(offset, piece_bytes)) as blocks:
            async for block in blocks:
                yield await loop.run_in_executor(None, _made, make, offset, block)
                offset += sum(map(len, block))

    @property
    def can_restart(self) -> bool:
        """`blocks` still gives every byte."""
        return self.seekable

    def check_unchanged(self) -> None:
        """Called when all was read.

        Raises:
            SourceChanged: it has been written to meanwhile.
        """
        return

    def close(self) -> None:
        """Give back what this source opened itself."""
        return


class FileSource(Source):
    """A seekable binary file object, from where it stands to its end."""

    seekable = True

    def __init__(self, file: BinaryIO, *, name: str = "") -> None:
        self._file = file
        self._start = file.tell()
        # A thread whose caller was cancelled may still read when the next try begins.
        self._lock = threading.Lock()
        self.size_bytes = max(0, file.seek(0, io.SEEK_END) - self._start)
        file.seek(self._start)
        self.name = name or _name_of(file)
        self._descriptor = regular_descriptor(file)
        self._before = self._look()

    async def blocks(self, offset: int, piece_bytes: int) -> AsyncGenerator[list[bytes], None]:
        async with aclosing(self.made(lambda _, data: data, offset, piece_bytes)) as blocks:
            async for block in blocks:
                yield block

    async def made(
        self, make: Make[T], offset: int, piece_bytes: int
    ) -> AsyncGenerator[list[T], None]:
        loop, size = asyncio.get_running_loop(), self.size_bytes or 0
        while offset < size:
            yield await loop.run_in_executor(None, self._read, make, offset, piece_bytes)
            offset += min(BLOCK_PIECES * piece_bytes, size - offset)

    def _read(self, make: Make[T], position: int, piece_bytes: int) -> list[T]:
        size = self.size_bytes or 0
        block: list[T] = []
        with self._lock:
            self._file.seek(self._start + position)
            # One that grows is read to the size that was declared, and then found to have changed.
            while position < size and len(block) < BLOCK_PIECES:
                piece = self._piece(position, min(piece_bytes, size - position))
                block.append(make(position, piece))
                position += len(piece)
        return block

    def _piece(self, position: int, size: int) -> bytes:
        """The next `size` bytes, also of a file that gives less at a time."""
        parts: list[bytes] = []
        left = size
        while left:
            part = self._file.read(left)
            if not part:
                name = self.name or "the source"
                at = position + size - left
                raise SourceChanged(f"{name} ended at byte {at} of {self.size_bytes}")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check_unchanged(self) -> None:
        if self._look() != self._before:
            name = self.name or "the source"
            raise SourceChanged(f"{name} changed while it was read. {SourceChanged.advice}")

    def _look(self) -> tuple[int, ...]:
        if self._descriptor is None:
            with self._lock:
                return (self._file.seek(0, io.SEEK_END),)
        now = os.fstat(self._descriptor)
        return now.st_ino, now.st_size, now.st_mtime_ns


class PathSource(FileSource):
    """A file on disk; `path` and `stat` are those at the start."""

    def __init__(self, path: Path, opened: BinaryIO) -> None:
        super().__init__(opened, name=printable(path.name))
        self._opened = opened
        self.path = path.resolve()
        self.stat = os.fstat(opened.fileno())

    def close(self) -> None:
        self._opened.close()


class StreamSource(Source):
    """Bytes that come once: an iterator, or a file that can't be sought."""

    def __init__(self, parts: AsyncIterator[bytes], *, name: str = "") -> None:
        self._parts = parts
        self._touched = False
        self.name = name

    @property
    def can_restart(self) -> bool:
        return not self._touched

    async def blocks(self, offset: int, piece_bytes: int) -> AsyncGenerator[list[bytes], None]:
        if self._touched or offset:
            raise InvalidArgument("this source can be read only once; give a path or bytes instead")
        self._touched = True
        kept = bytearray()
        async for part in self._parts:
            kept += part
            while len(kept) >= piece_bytes:
                yield [bytes(kept[:piece_bytes])]
                del kept[:piece_bytes]
        if kept:
            yield [bytes(kept)]


class PipeSource(StreamSource):
    """A binary file object whose end is not known: a pipe, a device, a file of procfs."""

    def __init__(self, file: BinaryIO, *, owned: bool = False) -> None:
        self._thread = LoneThread()
        super().__init__(_from_file(file, self._thread), name=_name_of(file))
        self._file = file
        self._owned = owned

    def close(self) -> None:
        self._thread.close()
        if self._owned:
            self._file.close()


class IteratorSource(StreamSource):
    """An iterator, which may wait for a disk or a network at each step."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._thread = LoneThread()
        super().__init__(_from_iterator(parts, self._thread))

    def close(self) -> None:
        self._thread.close()


async def open_source(source: UploadSource) -> Source:
    """The source for whatever the caller gave; close it when done.

    A FIFO is open when somebody writes to it.

    Raises:
        OSError: a path can't be opened.
        TypeError: it is nothing that gives bytes.
    """
    if isinstance(source, str | os.PathLike):
        thread = LoneThread()
        try:
            return await thread.call(lambda: _open_path(source))
        finally:
            thread.close()
    if isinstance(source, bytes | bytearray):
        return FileSource(io.BytesIO(source))
    if hasattr(source, "read"):
        return _of_file(cast("BinaryIO", source))
    if isinstance(source, AsyncIterable):
        return StreamSource(aiter(source))
    if isinstance(source, Iterable):
        return IteratorSource(iter(source))
    raise TypeError(
        f"upload takes a path, a binary file, bytes or an iterator of bytes, not {type(source)}"
    )


def _open_path(given: str | os.PathLike[str]) -> Source:
    path = Path(given)
    if isinstance(given, FileBelow):
        opened = io.FileIO(path, opener=lambda *_: open_below(given.top, given.relative))
    else:
        opened = path.open("rb", buffering=0)
    try:
        if ends_where_it_says(opened.fileno()):
            return PathSource(path, opened)
        return PipeSource(opened, owned=True)
    except BaseException:
        opened.close()
        raise


def _of_file(file: BinaryIO) -> Source:
    plain = plain_file(file)
    if not file.seekable() or (plain is not None and not ends_where_it_says(plain.fileno())):
        return PipeSource(file)
    return FileSource(file)


def printable(name: str) -> str:
    """`name` as text that UTF-8 can hold: bytes that were none in the file system become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _name_of(file: BinaryIO) -> str:
    name = getattr(file, "name", "")
    if not isinstance(name, str) or name.startswith("<"):
        return ""
    return printable(Path(name).name)


def _made(make: Make[T], offset: int, block: list[bytes]) -> list[T]:
    made = []
    for data in block:
        made.append(make(offset, data))
        offset += len(data)
    return made


async def _from_file(file: BinaryIO, thread: LoneThread) -> AsyncIterator[bytes]:
    plain = plain_file(file)
    read = (lambda: file.read(CHUNK_BYTES)) if plain is None else _Arriving(file, plain).read
    while block := await thread.call(read):
        yield block


class _Arriving:
    """Reads what a pipe or device has, as soon as it has something."""

    def __init__(self, file: BinaryIO, plain: io.FileIO) -> None:
        self._poll = select.poll()
        self._poll.register(plain.fileno(), select.POLLIN)
        # `read` of a buffer waits for all that was asked for.
        self._read: Callable[[int], bytes | None] = file.read
        if isinstance(file, io.BufferedReader | io.BufferedRandom):
            self._read = file.read1
        self._ended = False

    def read(self) -> bytes:
        """Up to a piece, nothing at the end only."""
        found = bytearray()
        while not self._ended and len(found) < CHUNK_BYTES:
            # Waited for here: the buffer's lock must not be held while nothing comes, or the
            # interpreter can't end.
            if not self._poll.poll(0 if found else None):
                break
            part = self._read(CHUNK_BYTES - len(found))
            # A file that others made non-blocking answers None when it has nothing after all.
            if part is not None:
                found += part
                self._ended = not part
        return bytes(found)


async def _from_iterator(parts: Iterator[bytes], thread: LoneThread) -> AsyncIterator[bytes]:
    while (part := await thread.call(lambda: next(parts, None))) is not None:
        yield part
