"""What is sent of a source: chunk after chunk, as protobuf writes them, whatever kind it is."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artstore.v1 import types_pb2, uploads_pb2
from artstore_client.local.digest import RunningDigest
from artstore_client.uploads.outgoing import outgoing_chunks
from artstore_client.uploads.sources import open_source

PIECE_BYTES = 64


class Hesitant(io.BytesIO):
    """Gives less than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size) if size and size > 0 else size)


def in_steps(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), 37):
        yield content[at : at + 37]


def on_disk(content: bytes) -> Any:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


KINDS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda content: content,
    "file object": io.BytesIO,
    "one of its own kind": Hesitant,
    "buffered": lambda content: io.BufferedReader(io.BytesIO(content)),
    "on disk": on_disk,
    "iterator": in_steps,
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(content=st.binary(max_size=5 * PIECE_BYTES), begin=st.integers(0, 3 * PIECE_BYTES))
async def test_messages_hold_all_bytes_from_the_offset_on(
    kind: str, content: bytes, begin: int
) -> None:
    source = await open_source(KINDS[kind](content))
    offset = min(begin, len(content)) if source.seekable else 0
    digest = RunningDigest()
    digest.update(0, content[:offset])
    sent = [
        (one.message, one.end)
        async for one in outgoing_chunks(source, offset, digest, chunk_bytes=PIECE_BYTES)
    ]
    source.close()
    assert sent == [
        (message_of(at, content[at : at + PIECE_BYTES]), min(at + PIECE_BYTES, len(content)))
        for at in range(offset, len(content), PIECE_BYTES)
    ]
    assert digest.sha256 == hashlib.sha256(content).hexdigest()


def message_of(offset: int, data: bytes) -> bytes:
    chunk = types_pb2.Chunk(offset=offset, data=data, crc32c=google_crc32c.value(data))
    return uploads_pb2.UploadRequest(chunk=chunk).SerializeToString()
