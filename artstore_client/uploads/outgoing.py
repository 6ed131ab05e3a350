"""The bytes of a source as chunks, hashed on the way and read ahead of the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from artstore_client.contract import CHUNK_BYTES
from artstore_client.framing import framed
from artstore_client.local.digest import RunningDigest, crc32c
from artstore_client.uploads.sources import Source


class Outgoing(NamedTuple):
    """A chunk as the message that is sent.

    Attributes:
        end: offset of the byte after it.
    """

    message: bytes
    end: int


async def outgoing_chunks(
    source: Source, offset: int, digest: RunningDigest, *, chunk_bytes: int = CHUNK_BYTES
) -> AsyncGenerator[Outgoing, None]:
    """Chunks of `source` from `offset` to its end; `digest` takes what it has not seen yet.

    The next block is read, hashed and made into messages while those of the one before are on
    their way.

    Raises:
        OSError: the source can't be read.
        SourceChanged: it was written to meanwhile.
    """

    def outgoing(position: int, data: bytes) -> Outgoing:
        digest.update(position, data)
        return Outgoing(framed(position, data, crc32c(data)), position + len(data))

    async with aclosing(source.made(outgoing, offset, chunk_bytes)) as blocks:
        ahead = asyncio.ensure_future(anext(blocks, None))
        try:
            while (block := await ahead) is not None:
                ahead = asyncio.ensure_future(anext(blocks, None))
                # Taken out, so that nothing holds what is sent already.
                block.reverse()
                while block:
                    yield block.pop()
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
