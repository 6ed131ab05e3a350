"""Pieces are read as protobuf would read them, and written so that it does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import artstore_client.framing
import mesh.framing
from artstore.v1 import downloads_pb2, types_pb2, uploads_pb2

KINDS = (
    uploads_pb2.UploadRequest,
    uploads_pb2.WriteUploadRequest,
    downloads_pb2.DownloadResponse,
)
FRAMINGS = (mesh.framing, artstore_client.framing)
framing_of_both = pytest.mark.parametrize("framing", FRAMINGS)
OFFSETS = st.integers(0, 2**63 - 1) | st.integers(0, 300)
CHECKSUMS = st.none() | st.integers(0, 2**32 - 1)
DATA = st.binary(max_size=300)
VARINTS = st.sampled_from([b"\x00", b"\x01", b"\x80\x00", b"\x80\x01", b"\xff" * 9 + b"\x01"])
PARTS = (
    st.sampled_from([b"\x12", b"\x08", b"\x1d", b"\x0a", b"\x1a", b"\x18", b"\x1d\0\0\0\0"])
    | VARINTS
    | st.binary(max_size=6)
)


@st.composite
def nearly_chunks(draw: st.DrawFn) -> bytes:
    """A chunk's message whose parts were doubled, swapped or cut."""
    data = draw(DATA)
    message = mesh.framing.framed(draw(OFFSETS), data, draw(CHECKSUMS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(message), 24)) | st.integers(0, len(message)))
        cut = draw(st.integers(0, 3))
        message = message[:at] + draw(PARTS) + message[at + cut :]
    if draw(st.booleans()):
        # So that not all of them end with the length of the whole.
        inner = message[2:]
        message = b"\x12%c%b" % (len(inner) & 0x7F, inner) if len(inner) < 128 else message
    return message


MESSAGES = st.binary(max_size=40) | nearly_chunks() | st.lists(PARTS, max_size=8).map(b"".join)


def plain(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except Exception as error:
        return type(error)


@framing_of_both
@pytest.mark.parametrize("kind", KINDS)
@given(message=MESSAGES)
@example(message=b"")
@example(message=b"\x12\x00")
@example(message=b"\x12\x02\x12\x00")
@example(message=b"\x12\x07\x12\x00\x1d\0\0\0\0")
@example(message=b"\x12\x81\x00\x00")
@example(message=b"\x12\x04\x08\x80\x00\x12")
def test_what_is_read_here_is_what_protobuf_reads(framing: Any, kind: Any, message: bytes) -> None:
    taken = _read(framing, kind, message)
    expected = plain(kind, message)
    if not isinstance(taken, framing.Piece):
        assert taken == expected
        return
    assert kind(chunk=taken.chunk()) == expected
    # Not even fields that the contract does not know were left out.
    assert expected.SerializeToString() == framing.framed(*taken)
    assert framing.Piece.of(expected.chunk) == taken


def _read(framing: Any, kind: Any, message: bytes) -> Any:
    try:
        return framing.pieces_or(kind)(message)
    except Exception as error:
        return type(error)


@framing_of_both
@pytest.mark.parametrize("kind", KINDS)
@given(offset=OFFSETS, data=DATA, crc32c=CHECKSUMS)
def test_what_is_written_here_is_what_protobuf_writes(
    framing: Any, kind: Any, offset: int, data: bytes, crc32c: int | None
) -> None:
    message = kind(chunk=types_pb2.Chunk(offset=offset, data=data, crc32c=crc32c))
    assert framing.framed(offset, memoryview(data), crc32c) == message.SerializeToString()
    assert framing.as_bytes(message) == framing.as_bytes(message.SerializeToString())


@framing_of_both
@given(offset=OFFSETS, data=st.binary(min_size=1, max_size=300), crc32c=CHECKSUMS)
def test_a_chunk_is_read_without_protobuf(
    framing: Any, offset: int, data: bytes, crc32c: int | None
) -> None:
    assert framing.piece_in(framing.framed(offset, data, crc32c)) == (offset, data, crc32c)


@framing_of_both
def test_the_bytes_stay_where_they_came(framing: Any) -> None:
    message = framing.framed(7, bytes(100_000), 1)
    piece = framing.piece_in(message)
    assert piece is not None
    assert isinstance(piece.data, memoryview)
    assert piece.data.obj is message
