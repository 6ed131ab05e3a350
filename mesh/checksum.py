"""CRC-32C (Castagnoli) of bytes, and of bytes that were looked at in pieces."""

from __future__ import annotations

from functools import cache

import crc32c as _crc32c

# Of less it is computed again sooner than put together.
JOINED_FROM_BYTES = 128 * 1024
_POLYNOMIAL = 0x82F63B78

_Matrix = tuple[int, ...]


def crc32c(data: bytes | memoryview, start: int = 0) -> int:
    """crc32c of `data`, continuing from `start`."""
    return _crc32c.crc32c(data, start)


def joined(first: int, second: int, second_bytes: int) -> int:
    """crc32c of two pieces, one behind the other, from those of each."""
    for power, matrix in enumerate(_zeros()):
        if second_bytes >> power & 1:
            first = _times(matrix, first)
    if second_bytes >> len(_zeros()):
        raise ValueError(f"a piece of {second_bytes} bytes is too long")
    return first ^ second


@cache
def _zeros() -> tuple[_Matrix, ...]:
    """What 1, 2, 4, 8 ... bytes of zeros behind it make of a checksum, up to 16 MiB."""
    bit: _Matrix = (_POLYNOMIAL, *(1 << shift for shift in range(31)))
    byte = _squared(_squared(_squared(bit)))
    found = [byte]
    while len(found) <= 24:
        found.append(_squared(found[-1]))
    return tuple(found)


def _squared(matrix: _Matrix) -> _Matrix:
    return tuple(_times(matrix, column) for column in matrix)


def _times(matrix: _Matrix, vector: int) -> int:
    result = 0
    for column in matrix:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result
