"""The bytes of a source as chunks, hashed on the way and read ahead of the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from artstore.v1 import types_pb2
from artstore_client.contract import CHUNK_BYTES
from artstore_client.local.digest import RunningDigest, crc32c
from artstore_client.uploads.sources import Source


class Outgoing(NamedTuple):
    """A chunk before it is a message: copying half a megabyte between messages costs."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """Offset of the byte after it."""
        return self.offset + len(self.data)

    def fill(self, chunk: types_pb2.Chunk) -> None:
        """Write it into the message that is sent."""
        chunk.offset = self.offset
        chunk.data = self.data
        chunk.crc32c = crc32c(self.data)


async def outgoing_chunks(
    source: Source, offset: int, digest: RunningDigest, *, chunk_bytes: int = CHUNK_BYTES
) -> AsyncGenerator[Outgoing, None]:
    """Chunks of `source` from `offset` to its end; `digest` takes what it has not seen yet.

    The next block is read and hashed while the chunks of the one before are on their way.

    Raises:
        OSError: the source can't be read.
        SourceChanged: it was written to meanwhile.
    """
    position = offset
    async with aclosing(_hashed(source, offset, digest, chunk_bytes)) as blocks:
        ahead = asyncio.ensure_future(anext(blocks, None))
        try:
            while (block := await ahead) is not None:
                ahead = asyncio.ensure_future(anext(blocks, None))
                for data in block:
                    yield Outgoing(position, data)
                    position += len(data)
        finally:
            # The generator can't be closed while a step of it runs.
            ahead.cancel()
            await asyncio.wait([ahead])
    source.check_unchanged()


async def catch_up(source: Source, offset: int, digest: RunningDigest) -> None:
    """Hash up to `offset` what an earlier run has sent: the whole file's digest needs it.

    Raises:
        OSError: the source can't be read.
        SourceChanged: it ends before `offset`.
    """
    start = digest.position
    if start >= offset:
        return
    async with aclosing(source.blocks(start, CHUNK_BYTES)) as blocks:
        async for block in blocks:
            for data in block:
                wanted = data[: offset - start]
                await asyncio.get_running_loop().run_in_executor(None, digest.update, start, wanted)
                start += len(wanted)
            if start >= offset:
                return


async def _hashed(
    source: Source, offset: int, digest: RunningDigest, piece_bytes: int
) -> AsyncGenerator[list[bytes], None]:
    loop = asyncio.get_running_loop()
    position = offset
    async with aclosing(source.blocks(offset, piece_bytes)) as blocks:
        async for block in blocks:
            await loop.run_in_executor(None, digest.update_all, position, block)
            yield block
            position += sum(map(len, block))
