"""Bytes of a file, or a range of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from mesh.concurrency.unread import Reader, Unread
from mesh.concurrency.watched import cancel_and_wait, seen
from mesh.errors import DataLoss, InvalidArgument, OutOfRange
from mesh.identity.caller import Caller
from storage_server.domain.modes import Action
from storage_server.domain.naming import blob_path
from storage_server.domain.sidecar import Sidecar
from storage_server.element.state import Element
from storage_server.files.lookup import Lookup
from storage_server.sidecars.locate import other_form_of_blob
from storage_server.store.port import Store
from storage_server.writing.view import FileView

# How often whoever waits for a first byte looks whether the storage still answers at all.
LOOK_SECONDS = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """What a download will send: `chunks` starts reading when it is first asked."""

    view: FileView
    offset: int
    length: int
    chunks: Chunks | None


class Chunks:
    """The bytes of a range, one chunk after the other; closed by whoever reads them.

    While their reader takes nothing, nothing of the store is held: neither a descriptor or
    connection, nor what was read ahead.

    Args:
        open_at: begins to read: at an offset, so many bytes, in chunks of a size.
    """

    def __init__(
        self,
        open_at: Callable[[int, int, Callable[[], int]], AsyncGenerator[bytes, None]],
        offset: int,
        length: int,
        reader: Reader,
    ) -> None:
        self._open_at = open_at
        self._at = offset
        self._end = offset + length
        self._reader = reader
        self._source: AsyncGenerator[bytes, None] | None = None
        self._resting: asyncio.Task[None] | None = None

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        await self._rested()
        if self._source is None:
            if self._at >= self._end:
                raise StopAsyncIteration
            self._source = self._open_at(self._at, self._end - self._at, self._reader.chunk_bytes)
        data = await anext(self._source)
        self._at += len(data)
        return data

    def taking(self, size_bytes: int) -> AbstractContextManager[None]:
        """While the reader takes what is written."""
        return self._reader.taking(size_bytes, stuck=self._rest)

    async def aclose(self) -> None:
        """Let go of whatever is held."""
        self._reader.close()
        await self._rested()
        await self._close()

    def _rest(self) -> None:
        self._resting = asyncio.ensure_future(self._close())
        self._resting.add_done_callback(seen)

    async def _rested(self) -> None:
        if self._resting is not None:
            await asyncio.wait({self._resting})
            self._resting = None

    async def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()


class Downloads:
    """Opens ranges of files for reading."""

    def __init__(self, element: Element, lookup: Lookup) -> None:
        self._element = element
        self._lookup = lookup
        self._unread = Unread()

    async def open(
        self,
        file_id: str,
        caller: Caller,
        *,
        offset: int,
        length: int | None,
        seconds_left: float | None = None,
        by_ticket: bool = False,
    ) -> Range:
        """The range; the caller closes its `chunks`.

        Args:
            offset: first byte.
            length: how many; None means to the end, and what lies beyond it is left out.
            by_ticket: admin has let this caller read this file, whatever mode and namespace; the
                sidecar alone says what is there.

        Raises:
            NotFound: no such file, or the caller may not read it.
            OutOfRange: `offset` lies beyond the end.
            FailedPrecondition: the element is in mode ar.
            Unavailable: the storage is down, or falls silent meanwhile.
        """
        if offset < 0:
            raise InvalidArgument("offset is negative", field="offset")
        if length is not None and length < 0:
            raise InvalidArgument("length is negative", field="length")
        if by_ticket:
            view = await self._while_answering(self._lookup.with_bytes(file_id))
        else:
            view = await self._while_answering(
                self._lookup.get(file_id, caller, seconds_left=seconds_left)
            )
            self._element.require(Action.READ)
        sidecar = view.sidecar
        if offset > sidecar.size_bytes:
            raise OutOfRange(
                f"offset {offset} is beyond the end, {sidecar.size_bytes}",
                reason="OFFSET",
                metadata={"size_bytes": str(sidecar.size_bytes)},
            )
        rest = sidecar.size_bytes - offset
        length = rest if length is None else min(length, rest)
        store = self._element.reading()
        if not length:
            return Range(view, offset, 0, None)

        def open_at(at: int, size: int, chunk: Callable[[], int]) -> AsyncGenerator[bytes, None]:
            chunks = _bytes_of(store, sidecar, at, size, chunk)
            return self._guarded(self._unless_it_went(sidecar, chunks))

        return Range(view, offset, length, Chunks(open_at, offset, length, Reader(self._unread)))

    async def _guarded(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """`chunks`; the first one is not waited for once the storage has fallen silent."""
        async with aclosing(chunks):
            first = await self._while_answering(_next(chunks))
            if first is None:
                return
            yield first
            async for data in chunks:
                yield data

    async def _unless_it_went(
        self, sidecar: Sidecar, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """`chunks`; bytes that were collected since the sidecar was read are no loss.

        Raises:
            NotFound: the file is not read here any more; names where it went.
        """
        try:
            async with aclosing(chunks):
                async for data in chunks:
                    yield data
        except DataLoss as exc:
            went = await self._lookup.went(sidecar) if exc.reason == "BLOB_MISSING" else None
            if went is None:
                raise
            raise went from exc

    async def _while_answering(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, unless the storage is found to be silent meanwhile.

        A single call may take a storage long; a storage that is frozen answers none. It is looked
        at once a second (`Element.watch`), which tells one from the other.

        Raises:
            Unavailable: reason STORAGE_DOWN.
        """
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=LOOK_SECONDS)
                if not task.done():
                    self._element.reading()
            return task.result()
        finally:
            if not task.done():
                await cancel_and_wait(task)


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)


async def _bytes_of(
    store: Store, sidecar: Sidecar, offset: int, length: int, chunk_size: Callable[[], int]
) -> AsyncGenerator[bytes, None]:
    """The bytes from where they are recorded to be, else from another form of that name."""

    def reading(path: str) -> AsyncGenerator[bytes, None]:
        chunks = store.read_blob(path, offset=offset, length=length, chunk_size=chunk_size)
        return cast("AsyncGenerator[bytes, None]", chunks)

    began = False
    try:
        async with aclosing(
            reading(blob_path(sidecar.storage_path, sidecar.storage_filename))
        ) as chunks:
            async for chunk in chunks:
                began = True
                yield chunk
        return
    except DataLoss as exc:
        if began or exc.reason != "BLOB_MISSING":
            raise
        other = await other_form_of_blob(store, sidecar)
        if other is None:
            raise
    async with aclosing(reading(other)) as chunks:
        async for chunk in chunks:
            yield chunk
