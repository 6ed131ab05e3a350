"""Bytes of a file, from an element that has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import Any

import grpc
import grpc.aio

from artstore.v1 import downloads_pb2
from artstore.v1.storage_pb2_grpc import StorageServiceStub
from mesh.calls.channels import KeptChannels
from mesh.calls.status import from_rpc_error
from mesh.concurrency.unread import Reader, Unread
from mesh.errors import ArtStoreError, Unavailable
from mesh.follower.lookups import ElementMetadata
from query_server.files.asking import not_answering

# Of silence of the element while somebody waits for its bytes; callers are more patient.
IDLE_SECONDS = 8.0
# Until a caller has a header or an error, however many elements were asked meanwhile.
HEADER_SECONDS = 9.0
# The next element gets this much, even when the first has taken all of that.
LEAST_SECONDS = 0.5


class Downloads:
    """Passes downloads on to elements, one long-lived channel for each address."""

    def __init__(self, channels: KeptChannels) -> None:
        self._channels = channels
        self.unread = Unread()

    async def stream(
        self,
        progress: Progress,
        *,
        elements: Sequence[str],
        endpoints: Mapping[str, str],
        metadata: ElementMetadata,
    ) -> AsyncIterator[downloads_pb2.DownloadResponse]:
        """The parts of a download that are still to come: one header, then chunks.

        When an element fails or falls silent, the next one that has the same bytes goes on
        from the offset reached.

        Raises:
            ArtStoreError: what an element answered; NotFound when all did, or one that it was
                deleted; Unavailable naming those that don't answer.
        """
        failure: ArtStoreError = Unavailable("no element that has the file is known at the moment")
        silent: dict[str, ArtStoreError] = {}
        for element_id in elements:
            if element_id not in endpoints:
                silent[element_id] = Unavailable("its address is not known at the moment")
                continue
            stub: Any = StorageServiceStub(self._channels.to(endpoints[element_id]))
            try:
                sent = tuple(await metadata(element_id))
            except Unavailable as error:
                silent[element_id] = error
                continue
            source = _Source(stub, sent, progress, Reader(self.unread), element_id)
            try:
                async with aclosing(source.parts()) as parts:
                    async for part in parts:
                        with source.taking(part):
                            yield part
                return
            except ArtStoreError as error:
                failure = error
                if error.reason == "FILE_DELETED":
                    # The others are earlier: they have not heard of it yet.
                    raise
                if isinstance(error, Unavailable):
                    silent[element_id] = error
                if progress.whole:
                    return
                if error.reason == "EXPIRED" and not progress.begun:
                    # Of its home's word a copy does not know.
                    raise
            finally:
                source.close()
        raise not_answering(progress.file_id, silent) if silent else failure


class _Source:
    """An element's part in a download. While the caller takes nothing, nothing is asked of it.

    Args:
        sent: metadata of the calls.
    """

    def __init__(
        self,
        stub: Any,
        sent: Sequence[tuple[str, Any]],
        progress: Progress,
        reader: Reader,
        element_id: str,
    ) -> None:
        self._stub = stub
        self._sent = sent
        self._progress = progress
        self._reader = reader
        self._element_id = element_id
        self._call: Any = None

    def taking(self, part: downloads_pb2.DownloadResponse) -> AbstractContextManager[None]:
        """While the caller takes `part`."""
        return self._reader.taking(len(part.chunk.data), stuck=self.rest)

    def close(self) -> None:
        """Nothing more is asked of it."""
        self._reader.close()
        self.rest()

    def rest(self) -> None:
        """End the call of now; whoever goes on begins another one where it was."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def parts(self) -> AsyncGenerator[downloads_pb2.DownloadResponse, None]:
        """What is to be passed on, until all is.

        Raises:
            ArtStoreError: what the element answered; Unavailable when it is silent.
        """
        progress = self._progress
        while not progress.whole:
            asked = progress.remaining(self._reader.ahead_bytes())
            self._call = call = self._stub.Download(asked, metadata=self._sent)
            parts, before = aiter(call), progress.offset
            while self._call is call:
                part = await _next(parts, self._element_id, progress.patience)
                if part is None:
                    if not asked.HasField("length") or progress.offset == before:
                        return
                    break
                if progress.take(part):
                    yield part


class Progress:
    """How much of a download has been passed on, and of which bytes.

    Attributes:
        file_id: the file.
    """

    def __init__(self, request: downloads_pb2.DownloadRequest) -> None:
        self.file_id = request.file_id
        self._length = request.length if request.HasField("length") else None
        self._header: downloads_pb2.DownloadHeader | None = None
        self._offset = request.offset
        self._header_by = time.monotonic() + HEADER_SECONDS

    @property
    def patience(self) -> float:
        """Seconds to wait for the next part."""
        if self._header is not None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(LEAST_SECONDS, self._header_by - time.monotonic()))

    @property
    def begun(self) -> bool:
        """Something was passed on."""
        return self._header is not None

    @property
    def whole(self) -> bool:
        """Nothing is left to ask for."""
        return self._header is not None and self._left == 0

    @property
    def offset(self) -> int:
        """Where the next byte is."""
        return self._offset

    @property
    def _left(self) -> int | None:
        if self._header is None:
            return self._length
        return self._header.offset + self._header.length - self._offset

    def remaining(self, most_bytes: int | None = None) -> downloads_pb2.DownloadRequest:
        """What to ask an element for next; at most so many bytes."""
        left = self._left
        if most_bytes is not None:
            left = most_bytes if left is None else min(left, most_bytes)
        return downloads_pb2.DownloadRequest(file_id=self.file_id, offset=self._offset, length=left)

    def take(self, part: downloads_pb2.DownloadResponse) -> bool:
        """Note a part; whether it is to be passed on.

        Raises:
            Unavailable: it does not go on where the last one ended.
        """
        if part.HasField("header"):
            if self._header is None:
                header = part.header
                # Less may have been asked for than the caller wants.
                rest = header.file.size_bytes - header.offset
                header.length = rest if self._length is None else min(self._length, rest)
                header.ClearField("sidecar")
                self._header = downloads_pb2.DownloadHeader()
                self._header.CopyFrom(header)
                return True
            if _bytes_of(part.header) != _bytes_of(self._header):
                raise Unavailable("the elements that have the file differ in its bytes")
            return False
        if part.chunk.offset != self._offset:
            raise Unavailable("an element did not go on where it was asked to")
        self._offset += len(part.chunk.data)
        return True


def _bytes_of(header: downloads_pb2.DownloadHeader) -> tuple[str, int]:
    return header.file.sha256, header.file.size_bytes


async def _next(
    parts: AsyncIterator[downloads_pb2.DownloadResponse], element_id: str, seconds: float
) -> downloads_pb2.DownloadResponse | None:
    """The next part, None after the last.

    Raises:
        ArtStoreError: what the element answered; Unavailable when it is silent.
    """
    try:
        async with asyncio.timeout(seconds):
            return await anext(parts)
    except StopAsyncIteration:
        return None
    except TimeoutError as exc:
        raise Unavailable(f"storage element {element_id} is silent") from exc
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
