"""Where downloads are written to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from artstore.v1 import types_pb2
from artstore_client.downloads.behind import BATCH_BYTES
from artstore_client.downloads.download_targets import to_file_object

CONTENT = (bytes(BATCH_BYTES), b"the last piece")


class Arriving:
    """A download; `reader` starts only when all of it has come."""

    file = types_pb2.File(file_id="id")
    verifiable = True

    def __init__(self, reader: threading.Thread) -> None:
        self.position = 0
        self._reader = reader

    async def open(self) -> types_pb2.File:
        return self.file

    async def blocks(self) -> AsyncIterator[bytes]:
        for block in CONTENT:
            self.position += len(block)
            yield block
        asyncio.get_running_loop().call_soon(self._reader.start)


async def test_a_pipe_whose_reader_is_late_gets_the_whole_download() -> None:
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read_all() -> None:
        with os.fdopen(reading, "rb") as pipe:
            got.append(pipe.read())

    reader = threading.Thread(target=read_all, daemon=True)
    download: Any = Arriving(reader)
    with os.fdopen(writing, "wb") as target:
        done = await to_file_object(download, target)
    reader.join()
    assert b"".join(got) == b"".join(CONTENT)
    assert done.size_bytes == len(got[0])
