"""Pieces of a file in the messages of streams, without copying them between messages.

Field 2 of UploadRequest, WriteUploadRequest and DownloadResponse is a chunk. A message that is one
chunk and nothing else, written as every library of protobuf writes it, is read here, and its bytes
stay where they are; whatever looks otherwise is left to protobuf. Twin of `mesh.framing`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from artstore.v1 import types_pb2

Kind = TypeVar("Kind", bound=type[Any])

_CHUNK_TAG = 0x12
_OFFSET_TAG = 0x08
_DATA_TAG = 0x12
_CRC_TAG = 0x1D
_CRC = struct.Struct("<BI")
# Of a varint that is no negative number.
_MOST_BYTES = 9


class Piece(NamedTuple):
    """A chunk whose bytes lie in the message that it came in."""

    offset: int
    data: bytes | memoryview
    crc32c: int | None

    @classmethod
    def of(cls, chunk: types_pb2.Chunk) -> Piece:
        """The same in another form."""
        return cls(chunk.offset, chunk.data, chunk.crc32c if chunk.HasField("crc32c") else None)

    def chunk(self) -> types_pb2.Chunk:
        """The same in another form."""
        return types_pb2.Chunk(offset=self.offset, data=bytes(self.data), crc32c=self.crc32c)


def piece_in(message: bytes) -> Piece | None:
    """The chunk that `message` is; None: let protobuf look at it."""
    try:
        return _piece_in(message)
    except (IndexError, ValueError):
        return None


def pieces_or(kind: Kind) -> Callable[[bytes], Any]:
    """What reads a message of `kind`: a Piece where it is one, else as protobuf does."""
    read = kind.FromString

    def parse(message: bytes) -> Any:
        piece = piece_in(message)
        return read(message) if piece is None else piece

    return parse


def framed(offset: int, data: bytes | memoryview, crc32c: int | None) -> bytes:
    """The message that is one chunk, in its serialized form."""
    size = len(data)
    fields = b"" if not offset else b"%c%b" % (_OFFSET_TAG, _encoded(offset))
    if size:
        fields += b"%c%b" % (_DATA_TAG, _encoded(size))
    tail = b"" if crc32c is None else _CRC.pack(_CRC_TAG, crc32c)
    head = b"%c%b" % (_CHUNK_TAG, _encoded(len(fields) + size + len(tail)))
    return b"".join((head, fields, data, tail))


def as_bytes(message: Any) -> bytes:
    """What writes a message that may be serialized already."""
    return message if type(message) is bytes else message.SerializeToString()


def _piece_in(message: bytes) -> Piece:
    end = len(message)
    at, offset, crc32c = _after(message, 0, _CHUNK_TAG), 0, None
    size, at = _varint(message, at)
    if size != end - at:
        raise ValueError("not one chunk")
    if message[at] == _OFFSET_TAG:
        offset, at = _varint(message, at + 1)
    size, at = _varint(message, _after(message, at, _DATA_TAG))
    rest = end - at - size
    if rest:
        tag, crc32c = _CRC.unpack(message[at + size :] if rest == _CRC.size else bytes(_CRC.size))
        if tag != _CRC_TAG:
            raise ValueError("something else follows the bytes, or they are cut off")
    return Piece(offset, memoryview(message)[at : at + size], crc32c)


def _after(message: bytes, at: int, tag: int) -> int:
    if message[at] != tag:
        raise ValueError("not where it would be")
    return at + 1


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in its shortest form, and where what follows it begins.

    Raises:
        IndexError: it is cut off.
        ValueError: it is longer than it need be, or than a number here is.
    """
    value = message[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for count in range(1, _MOST_BYTES):
        byte = message[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if not byte:
                raise ValueError("not in its shortest form")
            return value, at + count + 1
    raise ValueError("too long")


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
