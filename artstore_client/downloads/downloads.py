"""Bytes of a file, from where it is to where they are wanted, over as many streams as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from artstore.v1 import downloads_pb2, types_pb2
from artstore_client import errors
from artstore_client.calls import retry
from artstore_client.calls.connection import Connection
from artstore_client.downloads.behind import Behind
from artstore_client.files.finding import find_file
from artstore_client.framing import Piece
from artstore_client.local.digest import RunningDigest, crc32c
from artstore_client.results import Progress

# Chunks that arrive damaged, in a row, before it is called a loss and no longer an accident.
MOST_DAMAGED = 3


class Download:
    """One file or a range of it, as an element gives it.

    Args:
        offset: first byte.
        length: number of bytes; 0 means to the end.

    Attributes:
        file: its description, once `open` has found it.
        position: offset of the next byte.
    """

    def __init__(
        self,
        connection: Connection,
        file_id: str,
        *,
        offset: int = 0,
        length: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if offset < 0 or length < 0:
            raise errors.InvalidArgument("offset and length must not be negative", field="offset")
        self._connection = connection
        self._file_id = file_id
        self._first = offset
        self._length = length
        self._progress = progress
        self._element_id = ""
        self._damaged = 0
        self.file = types_pb2.File()
        self.position = offset
        self.digest = RunningDigest()

    @property
    def end(self) -> int:
        """Offset after the last byte that is wanted."""
        size = self.file.size_bytes
        return min(size, self._first + self._length) if self._length else size

    @property
    def whole(self) -> bool:
        """Every byte of the file is wanted, so that its digest can be compared."""
        return self._first == 0 and self.end == self.file.size_bytes

    async def open(self) -> types_pb2.File:
        """Find the file.

        Raises:
            NotFound: no element has it.
            Unavailable: an element that may have it does not answer.
            OutOfRange: `offset` lies beyond its end.
        """
        self._element_id, self.file = await find_file(self._connection, self._file_id)
        if self._first > self.file.size_bytes:
            raise errors.OutOfRange(
                f"offset {self._first} lies beyond the {self.file.size_bytes} bytes of the file"
            )
        return self.file

    async def blocks(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The bytes from `position` to the end, each verified by its own checksum.

        A stream that breaks is taken up at the byte it reached. Of a whole file the SHA-256 is
        compared after the last byte.

        Raises:
            DataLoss: what came is not what was stored.
            ArtStoreError: refused, or no progress for `retry_for` seconds.
        """
        if not self.whole or self.digest.position != self.position:
            async with aclosing(self._received()) as blocks:
                async for block in blocks:
                    yield block
            return
        hashing = Behind(lambda batch: self.digest.update_all(self.digest.position, batch))
        try:
            async with aclosing(self._received()) as blocks:
                async for block in blocks:
                    await hashing.put(block)
                    yield block
            await hashing.finish()
        finally:
            await hashing.leave()
        self._verify()

    async def _received(self) -> AsyncGenerator[bytes | memoryview, None]:
        patience = self._connection.calls.patience()
        renewals = 0
        while self.position < self.end:
            try:
                async with aclosing(self._one_stream()) as blocks:
                    async for block in blocks:
                        patience.note(self.position)
                        renewals = 0
                        yield block
                        patience.begin()
                continue
            except errors.ArtStoreError as error:
                step = retry.after_download(error)
                if step is retry.Next.FAIL and error.metadata.get("moved_to"):
                    # It went while it was read.
                    step = retry.Next.RESUME
                renewals += step is retry.Next.RENEW_TOKEN
                if isinstance(error, errors.DataLoss) and error.reason == "CHUNK_CHECKSUM":
                    self._damaged += 1
                    step = retry.Next.RESUME
                delay = patience.next_delay(error)
                if step is retry.Next.FAIL or delay is None:
                    raise
                if renewals > 1 or self._damaged > MOST_DAMAGED:
                    raise
                if isinstance(error, errors.Unavailable) and not error.reason:
                    await self._connection.unanswered(self._element_id)
                await self._look_elsewhere(error)
            await asyncio.sleep(delay)

    async def _look_elsewhere(self, error: errors.ArtStoreError) -> None:
        """Go on where the same bytes are, if that is another element than the one that failed."""
        if not isinstance(error, errors.Unavailable | errors.NotFound):
            return
        try:
            element_id, file = await find_file(self._connection, self._file_id)
        except errors.NotFound:
            raise
        except errors.ArtStoreError:
            # What the download itself met is tried again, and told in the end.
            return
        if (file.sha256, file.size_bytes) == (self.file.sha256, self.file.size_bytes):
            self._element_id = element_id

    async def _one_stream(self) -> AsyncGenerator[bytes | memoryview, None]:
        stub = await self._connection.storage(self._element_id)
        request = downloads_pb2.DownloadRequest(
            file_id=self._file_id, offset=self.position, length=self.end - self.position
        )
        doing = f"Download on {self._element_id}"
        async with aclosing(
            self._connection.calls.stream(stub.Download, request, doing=doing)
        ) as answers:
            async for answer in answers:
                if isinstance(answer, Piece):
                    data = self._checked(answer)
                elif answer.WhichOneof("payload") == "chunk":
                    data = self._checked(Piece.of(answer.chunk))
                else:
                    continue
                self.position += len(data)
                self._damaged = 0
                if self._progress is not None:
                    self._progress(self.position - self._first, self.end - self._first)
                yield data
        if self.position < self.end:
            raise errors.Unavailable(f"{doing}: the stream ended at byte {self.position}")

    def _checked(self, chunk: Piece) -> bytes | memoryview:
        data = chunk.data
        damaged = chunk.crc32c is not None and crc32c(data) != chunk.crc32c
        if damaged or chunk.offset != self.position or self.position + len(data) > self.end:
            raise errors.DataLoss(
                f"bytes at {self.position} of file {self._file_id} arrived damaged."
                f" {errors.DataLoss.advice}",
                reason="CHUNK_CHECKSUM",
            )
        return data

    def start_over(self) -> None:
        """Begin at the first byte again, since what an earlier run left can't be trusted."""
        self.position = self._first
        self.digest = RunningDigest()

    def _verify(self) -> None:
        if not self.verifiable or self.digest.sha256 == self.file.sha256:
            return
        raise errors.DataLoss(
            f"file {self._file_id} on {self._element_id} has sha256 {self.digest.sha256}, but"
            f" {self.file.sha256} was stored. Tell the operator: its bytes have changed.",
            reason="FILE_CHECKSUM",
        )

    @property
    def verifiable(self) -> bool:
        """The SHA-256 is known and every byte passed through the digest."""
        return self.whole and bool(self.file.sha256) and self.digest.position == self.end


async def as_generator(download: Download) -> AsyncGenerator[bytes, None]:
    """The bytes that `download` gives; the file is looked for when the first one is asked for."""
    await download.open()
    async with aclosing(download.blocks()) as blocks:
        async for block in blocks:
            yield bytes(block)
